"""Delays between attempts, and the circuit that opens after several failures in a row."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.protocol.messages import Refusal, RefusalCode
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.connection import circuit as circuit_module
from ugsd_sdk.connection import session as session_module
from ugsd_sdk.connection import verifier_connection as link_module
from ugsd_sdk.connection.circuit import FAILURES_TO_OPEN, Circuit
from ugsd_sdk.connection.link_state import LinkState
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import TransportError, VerifierTimeout, VerifierUnreachable
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
_DRAWN = Circuit.__init__.__kwdefaults__["jitter"]
New = Callable[..., Captioner]
GONE = VerifierUnreachable("gone: try again")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (circuit_module, link_module, session_module):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


def new_link(home: Path, dial: Callable[[], Any], *, jitter: float = 0.5) -> VerifierConnection:
    class Endpoint:
        def dial(self, timeout_s: float) -> Any:
            return dial()

        def failed(self) -> None: ...

        def close(self) -> None: ...

    egress = UserEgress(Home.from_path(home), Settings().limits_for(), "ada")
    return VerifierConnection(
        Endpoint(),
        egress,
        lambda: pytest.fail("no handshake"),
        connect_timeout_s=5,
        circuit=Circuit(jitter=lambda: jitter),
    )


def nobody() -> Any:
    raise GONE


def link_of(captioner: Captioner) -> VerifierConnection:
    link = captioner._pipeline().links.first
    assert link is not None
    return link


def delays(link: VerifierConnection, clock: Clock, count: int) -> list[float]:
    found = []
    for _ in range(count):
        link.drop(GONE)
        found.append(link._circuit.retry_at_s - clock.now_s)
    return found


def attempt(link: VerifierConnection, clock: Clock) -> Exception:
    """Let the delay pass and wait for one attempt to fail; return the error of a caption that comes
    next."""
    clock.now_s = max(clock.now_s, link._circuit.retry_at_s)
    link.start_connecting()
    running = link._attempt
    if running is not None:
        assert running.wait(10)
    with pytest.raises((TransportError, LedgerUnavailable)) as raised:
        link.session(0)
    return raised.value


def test_delays_double_up_to_a_bound(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody, jitter=1.0)
    found = delays(link, clock, 14)
    assert found[:4] == [0.5, 1.0, 2.0, 4.0]
    assert found[-1] == max(found) == 300.0


def test_first_delays_are_anything_up_to_the_bound(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody, jitter=0.0)
    assert delays(link, clock, 4) == [0.0, 0.0, 1.0, 2.0], "an open circuit waits for half"


def test_jitter_is_random_by_default(tmp_path: Path, clock: Clock) -> None:
    assert _DRAWN is random.random
    links = [new_link(tmp_path, nobody) for _ in range(8)]
    for link in links:
        link._circuit._jitter = _DRAWN
    assert len({delays(link, clock, 1)[0] for link in links}) == 8


def test_circuit_opens_after_failures_in_a_row(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody)
    states, reasons = [], []
    for _ in range(FAILURES_TO_OPEN + 1):
        error = attempt(link, clock)
        assert isinstance(error, TransportError)
        states.append(link.state)
        reasons.append(error.reason)
    assert states == [LinkState.BACKING_OFF] * 2 + [LinkState.CIRCUIT_OPEN] * 2
    assert list(map(why_of, reasons)) == ["verifier_unreachable"] * 2 + ["circuit_open"] * 2
    last = Reason(code=ReasonCode.VERIFIER_UNREACHABLE)
    assert reasons[-1] == Reason(code=ReasonCode.CIRCUIT_OPEN, failure=last)
    link.close()


def test_locked_ledger_is_named_with_open_circuit(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody)
    for _ in range(FAILURES_TO_OPEN):
        link.drop(LedgerUnavailable("locked: try again"))
    assert link.state is LinkState.CIRCUIT_OPEN
    with pytest.raises(LedgerUnavailable):
        link.session(0)


def test_open_circuit_starts_nothing_before_its_delay(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody)
    delays(link, clock, FAILURES_TO_OPEN)
    link.start_connecting()
    assert link.state is LinkState.CIRCUIT_OPEN
    assert link._attempt is None


def test_nobody_waits_for_a_trial(tmp_path: Path, clock: Clock) -> None:
    release = threading.Event()

    def stuck() -> Any:
        release.wait(20)
        raise GONE

    link = new_link(tmp_path, stuck)
    delays(link, clock, FAILURES_TO_OPEN)
    clock.now_s = link._circuit.retry_at_s
    try:
        for _ in range(3):
            with pytest.raises(VerifierUnreachable) as raised:
                link.session(60)  # would exceed the test's time if it waited
            assert why_of(raised.value.reason) == "circuit_open"
            assert link.state is LinkState.TRIAL
    finally:
        release.set()
    running = link._attempt
    assert running is None or running.wait(10)
    assert link.state is LinkState.CIRCUIT_OPEN
    link.close()


def test_trial_and_verdict_close_the_circuit(
    new_captioner: New, fake: Any, voice: Voice, clock: Clock
) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        delays(link, clock, FAILURES_TO_OPEN)
        frames = len(fake.frames)
        caption = captioner.caption(voice, 16_000)
        assert why_of(caption.unverified_reason) == "circuit_open"
        assert (len(fake.frames), caption.usage.num_frames) == (frames, 0)
        clock.now_s = link._circuit.retry_at_s
        link.start_connecting()
        assert link._attempt is None or link._attempt.wait(10)
        assert link.state is LinkState.READY
        assert captioner.caption(voice, 16_000).unverified_reason is None
        link.drop(GONE)
        assert link.state is LinkState.BACKING_OFF, "a verdict ended the row"


def test_first_failure_after_trial_opens_it_again(
    new_captioner: New, fake: Any, voice: Voice, clock: Clock
) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        delays(link, clock, FAILURES_TO_OPEN)
        captioner.wait_until_connected()
        fake.answer = lambda block: Refusal(code=RefusalCode.OVERLOADED)
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == (
            "verifier_refused: overloaded"
        )
        assert link.state is LinkState.CIRCUIT_OPEN


def test_waiting_until_connected_ends_the_delay(new_captioner: New, fake: Any) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        link._circuit._first_back_off_s = 300.0
        for _ in range(FAILURES_TO_OPEN):
            link.drop(GONE)
        captioner.wait_until_connected(10)
        assert link.state is LinkState.READY
    assert fake.connections == 2


@pytest.mark.parametrize("shape", TrafficShape)
def test_refusals_open_the_circuit_unless_shape_is_constant(
    new_captioner: New, fake: Any, voice: Voice, shape: TrafficShape
) -> None:
    """In constant shape covers are never refused, so dropping the session would show blocks."""
    fake.answer = lambda block: Refusal(code=RefusalCode.OVERLOADED)
    with new_captioner(config=Settings(traffic_shape=shape)) as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        link._circuit._first_back_off_s = 300.0
        reasons = [
            why_of(captioner.caption(voice, 16_000).unverified_reason)
            for _ in range(FAILURES_TO_OPEN + 1)
        ]
    refused = "verifier_refused: overloaded"
    constant = shape is TrafficShape.CONSTANT
    assert reasons == [refused] * FAILURES_TO_OPEN + [refused if constant else "circuit_open"]
    assert len(fake.blocks) == FAILURES_TO_OPEN + constant


@pytest.mark.parametrize("failures_to_open", [FAILURES_TO_OPEN, 1000])
def test_silent_verifier_is_asked_a_few_times(
    new_captioner: New,
    fake: Any,
    voice: Voice,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    failures_to_open: int,
) -> None:
    """A verifier that connects and never answers: the circuit breaker stops asking it for a while,
    and without it every new session costs another caption its deadline."""
    monkeypatch.setattr(circuit_module, "FAILURES_TO_OPEN", failures_to_open)
    monkeypatch.setattr(link_module, "_LATE_ANSWER_TIMEOUT_S", -1.0)
    fake.answer = lambda block: None
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        link._circuit._jitter = lambda: 0.99
        for _ in range(20):
            if link.state is LinkState.BACKING_OFF:
                clock.now_s = link._circuit.retry_at_s
            captioner.caption(voice, 16_000)
        is_open = link.state is LinkState.CIRCUIT_OPEN
    assert is_open == (failures_to_open == FAILURES_TO_OPEN)
    assert (len(fake.blocks) <= FAILURES_TO_OPEN) == is_open


class Pinging(MemoryTransport):
    """A transport that measures its round trip."""

    round_trip = SmoothedTime.first(0.2)
    is_late = False


def test_late_pong_is_noticed_before_the_charge(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    def pinging() -> Pinging:
        return Pinging(fake.transport()._peer)

    with new_captioner(verifier=pinging) as captioner:
        link = link_of(captioner)
        captioner.wait_until_connected()
        assert link.round_trip == SmoothedTime(0.2, 0.1)
        Pinging.is_late = True
        try:
            caption = captioner.caption(voice, 16_000)
        finally:
            Pinging.is_late = False
        assert why_of(caption.unverified_reason) == "verifier_unreachable"
        assert (len(fake.blocks), caption.usage.num_frames, caption.receipts) == (0, 0, ())
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.connections == 1, "the connection may still recover"


def test_unmeasured_transport_has_no_round_trip(new_captioner: New) -> None:
    with new_captioner() as captioner:
        link = link_of(captioner)
        assert link.round_trip is None
        captioner.wait_until_connected()
        assert link.round_trip is None


def test_timeout_error_counts_as_failure(tmp_path: Path, clock: Clock) -> None:
    link = new_link(tmp_path, nobody)
    for _ in range(FAILURES_TO_OPEN - 1):
        link.question_failed(VerifierTimeout("late"))
    assert link.state is LinkState.IDLE
    link.question_failed(VerifierTimeout("late"))
    assert link.state is LinkState.CIRCUIT_OPEN
