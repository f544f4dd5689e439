"""The emulated link delays what it relays as declared, and keeps every byte in order."""

from __future__ import annotations

import math
import random
import socket
import threading
import time
from contextlib import closing, suppress

import pytest
from ugsd_lab.bench.emulated_link import (
    MIN_TIMEOUT_S,
    SEGMENT_BYTES,
    EmulatedLink,
    LinkConditions,
    Path,
    lost_s,
)

from tests.doubles.listener import Listener


class Echo(Listener):
    """Sends back what it receives."""

    def serve(self, device: socket.socket) -> list[threading.Thread]:
        return [threading.Thread(target=self._echo, args=(device,))]

    @staticmethod
    def _echo(device: socket.socket) -> None:
        with device, suppress(ConnectionError):
            while data := device.recv(65_536):
                device.sendall(data)


def arrivals(conditions: LinkConditions, sizes: list[int], seed: int = 0) -> list[float]:
    path = Path(random.Random(seed), 0.0)
    return [path.arrival_s(size, 0.0, conditions) for size in sizes]


def test_segment_takes_half_the_round_trip() -> None:
    assert arrivals(LinkConditions(round_trip_s=0.2), [100]) == [0.1]


def test_bandwidth_makes_segments_queue() -> None:
    assert arrivals(LinkConditions(bytes_per_s=1000), [100, 100]) == pytest.approx([0.1, 0.2])


def test_jitter_is_bounded_and_keeps_order() -> None:
    path, conditions = Path(random.Random(2), 0.0), LinkConditions(round_trip_s=0.1, jitter_s=0.03)
    sent = [0.001 * number for number in range(500)]
    times = [path.arrival_s(1, at_s, conditions) for at_s in sent]
    delays = [arrival - at for arrival, at in zip(times, sent, strict=True)]
    assert times == sorted(times)
    assert 0.05 <= min(delays) < 0.07
    assert 0.07 < max(delays) <= 0.08 + 1e-9


def test_loss_costs_retransmission_timeouts() -> None:
    rng = random.Random(1)
    costs = [lost_s(rng, 0.2, 0.3) for _ in range(20_000)]
    assert sum(cost > 0 for cost in costs) / len(costs) == pytest.approx(0.2, abs=0.02)
    assert {round(cost, 6) for cost in costs if 0 < cost < 1} == {0.3, 0.9}


def test_loss_holds_back_later_segments() -> None:
    times = arrivals(LinkConditions(loss=0.5), [1] * 50, seed=3)
    assert times == sorted(times)
    assert max(times) >= MIN_TIMEOUT_S


def test_equal_seeds_give_equal_arrivals() -> None:
    conditions = LinkConditions(round_trip_s=0.1, jitter_s=0.05, loss=0.1)
    assert arrivals(conditions, [9] * 30, seed=7) == arrivals(conditions, [9] * 30, seed=7)
    assert arrivals(conditions, [9] * 30, seed=7) != arrivals(conditions, [9] * 30, seed=8)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.0}, {"loss": -0.1}, {"round_trip_s": -1}, {"jitter_s": math.nan},
     {"bytes_per_s": 0}, {"round_trip_s": math.inf}],
    ids=str,
)  # fmt: skip
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"0 or more|probability"):
        LinkConditions(**wrong)


def test_bytes_arrive_whole_and_after_the_round_trip() -> None:
    sent = random.Random(0).randbytes(20 * SEGMENT_BYTES + 7)
    conditions = LinkConditions(round_trip_s=0.1, jitter_s=0.02)
    with (
        Echo() as echo,
        EmulatedLink(("127.0.0.1", echo.port), conditions) as link,
        closing(socket.create_connection(("127.0.0.1", link.port))) as device,
    ):
        started_s = time.monotonic()
        device.sendall(sent)
        got = b""
        while len(got) < len(sent):
            got += device.recv(65_536)
        elapsed_s = time.monotonic() - started_s
        device.shutdown(socket.SHUT_WR)
        assert device.recv(1) == b""
    assert got == sent
    assert elapsed_s >= 0.2, "the handshake, there and back"
    assert link.connections == 1


def test_reset_reaches_the_device() -> None:
    with (
        Echo() as echo,
        EmulatedLink(("127.0.0.1", echo.port)) as link,
        closing(socket.create_connection(("127.0.0.1", link.port))) as device,
    ):
        device.sendall(b"x")
        assert device.recv(1) == b"x"
        link.reset_all()
        with pytest.raises(ConnectionError):
            device.recv(1)
