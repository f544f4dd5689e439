"""One call: its time limit, its cancellation, and the waits that end with it."""

from __future__ import annotations

import math
from threading import Event, Lock, Thread
from time import monotonic

import pytest
from ugsd_privacy.slots import Slots
from ugsd_sdk.calls.call import Call, current_call
from ugsd_sdk.errors import (
    CallEnded,
    CaptionCancelled,
    CaptionerClosed,
    CaptionTimeout,
    ConfigError,
    UgsdError,
)


def test_passed_limit_is_a_timeout() -> None:
    call = Call(timeout_s=1e-9)
    with pytest.raises(CaptionTimeout, match="time limit of 1e-09 s"):
        call.check()
    assert call.remaining_s == 0
    assert issubclass(CaptionTimeout, TimeoutError)
    assert issubclass(CaptionTimeout, UgsdError)


def test_call_without_a_limit_never_ends() -> None:
    call = Call()
    call.check()
    assert call.remaining_s == math.inf


@pytest.mark.parametrize("timeout_s", ["1", True, object()])
def test_limit_must_be_a_number(timeout_s: object) -> None:
    with pytest.raises(TypeError, match="timeout_s"):
        Call(timeout_s=timeout_s)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="NaN"):
        Call(timeout_s=math.nan)


@pytest.mark.parametrize("timeout_s", [0, -1, -math.inf])
def test_limit_must_be_above_zero(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s must be above 0 seconds"):
        Call(timeout_s)


def test_first_reason_to_end_counts() -> None:
    call = Call()
    assert call.cancel(CaptionerClosed)
    assert call.cancel()
    with pytest.raises(CaptionerClosed):
        call.check()


def test_nothing_ends_a_committed_call() -> None:
    call = Call(timeout_s=60)
    call.commit()
    assert not call.cancel()
    call.check()
    ended = Call()
    ended.cancel()
    with pytest.raises(CaptionCancelled):
        ended.commit()


@pytest.mark.parametrize("timeout_s", [None, 0.2])
def test_waiting_for_a_lock_ends(timeout_s: float | None) -> None:
    call, turn, waits = Call(timeout_s), Slots(), Event()
    errors: list[CallEnded] = []

    def wait() -> None:
        waits.set()
        try:
            with (holder := Lock()), call.holding(turn, holder):
                pass
        except CallEnded as error:
            errors.append(error)

    other = Lock()
    other.acquire()
    assert turn.acquire(other, ())
    thread = Thread(target=wait)
    thread.start()
    assert waits.wait(10)
    if timeout_s is None:
        call.cancel()
    thread.join(10)
    assert [type(error) for error in errors] == [
        CaptionCancelled if timeout_s is None else CaptionTimeout
    ]


def test_turn_is_returned_after_its_block() -> None:
    call, turn = Call(), Slots()
    with (holder := Lock()), call.holding(turn, holder):
        assert turn.num_held == 1
    assert turn.num_held == 0


def test_slices_last_as_long_as_allowed() -> None:
    assert len(list(Call().slices(0))) == 1
    started_s = monotonic()
    assert all(0 <= wait_s <= 1 for wait_s in Call().slices(0.05))
    assert monotonic() - started_s >= 0.05


def test_current_call_is_that_of_its_thread() -> None:
    call, found = Call(), list[Call]()
    with call.running():
        other = Thread(target=lambda: found.append(current_call()))
        other.start()
        other.join()
        assert current_call() is call
    assert {current_call() is call, found[0] is call} == {False}
