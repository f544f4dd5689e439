"""Attempts to connect overlap, and the first that succeeds wins (RFC 8305)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from ugsd_sdk.transport.happy_eyeballs import ATTEMPT_DELAY_S, Attempts, interleaved

V4, V6 = socket.AF_INET, socket.AF_INET6


class FakeSocket:
    """An attempt whose result a test sets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error = 0
        self.is_closed = False

    def getsockopt(self, *_: int) -> int:
        return self.error

    def close(self) -> None:
        self.is_closed = True


class World:
    """Attempts to connect to named addresses, at a time that the test sets."""

    def __init__(self, *names: str, unroutable: tuple[str, ...] = ()) -> None:
        self.begun: dict[str, FakeSocket] = {}
        self._unroutable = unroutable
        self.attempts = Attempts([(V4, (name,)) for name in names], begin=self._begin)

    def _begin(self, family: int, address: tuple[object, ...]) -> Any:
        name = str(address[0])
        if name in self._unroutable:
            raise OSError("no route")
        self.begun[name] = FakeSocket(name)
        return self.begun[name]

    def step(self, now_s: float, *ready: str) -> str | None:
        won: Any = self.attempts.step(now_s, [self.begun[name] for name in ready])  # type: ignore[misc]
        return None if won is None else won.name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("6a 6b 6c 4a 4b", "6a 4a 6b 4b 6c"),
        ("4a 6a 6b", "4a 6a 6b"),
        ("4a 4b", "4a 4b"),
        ("", ""),
    ],
)
def test_families_take_turns(given: str, expected: str) -> None:
    def parsed(text: str) -> list[tuple[int, tuple[object, ...]]]:
        return [(V6 if name[0] == "6" else V4, (name,)) for name in text.split()]

    assert interleaved(parsed(given)) == parsed(expected)


def test_black_hole_costs_one_delay() -> None:
    world = World("hole", "good", "other")
    assert world.step(0.0) is None
    assert list(world.begun) == ["hole"]
    assert world.attempts.next_s == ATTEMPT_DELAY_S
    assert world.step(ATTEMPT_DELAY_S) is None
    assert list(world.begun) == ["hole", "good"], "the first attempt goes on"
    assert world.step(ATTEMPT_DELAY_S + 0.01, "good") == "good"
    world.attempts.close()
    assert world.begun["hole"].is_closed
    assert not world.begun["good"].is_closed
    assert "other" not in world.begun


def test_first_address_may_win_late() -> None:
    world = World("slow", "hole")
    world.step(0.0)
    world.step(0.3)
    assert world.step(0.4, "slow") == "slow"


def test_failure_starts_the_next_at_once() -> None:
    world = World("refuses", "good")
    world.step(0.0)
    world.begun["refuses"].error = 111
    assert world.step(0.01, "refuses") is None
    assert world.begun["refuses"].is_closed
    assert "good" in world.begun
    assert world.step(0.02, "good") == "good"


def test_unroutable_address_is_skipped() -> None:
    world = World("v6", "good", unroutable=("v6",))
    world.step(0.0)
    assert list(world.begun) == ["good"]


@pytest.mark.parametrize("make", [World, lambda: World("a", "b", unroutable=("a", "b"))])
def test_no_address_is_an_error(make: Callable[[], World]) -> None:
    with pytest.raises(OSError, match="no address"):
        make().step(0.0)


def test_all_failures_are_an_error() -> None:
    world = World("a", "b")
    world.step(0.0)
    world.step(0.3)
    for one in world.begun.values():
        one.error = 111
    with pytest.raises(OSError, match="no address"):
        world.step(0.31, "a", "b")
