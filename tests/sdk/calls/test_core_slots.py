"""Core slots: how many threads compute at once, and who is next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from threading import Event, Lock, Thread
from time import monotonic, sleep

import pytest
from ugsd_privacy.slots import Slots
from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.core_slots import CoreSlots, usable_cores
from ugsd_sdk.errors import CaptionCancelled, CaptionTimeout

from tests.doubles.busy_threads import all_at_once, switching_often
from tests.doubles.forked import in_child


def slots(count: int) -> CoreSlots:
    return CoreSlots(lambda: count)


def wait_until(is_so: Callable[[], bool]) -> None:
    ends_s = monotonic() + 10
    while not is_so():
        assert monotonic() < ends_s
        sleep(0.001)


def thread_with(some: CoreSlots, end: Event) -> Thread:
    """Return a thread that holds a slot until ``end`` is set."""
    begun = Event()

    def hold() -> None:
        with (holder := Lock()), some.held(holder):
            begun.set()
            end.wait(10)

    thread = Thread(target=hold)
    thread.start()
    begun.wait(10)
    return thread


def holder_after(some: CoreSlots) -> Thread:
    """Return a thread that needs a slot once."""

    def use() -> None:
        with (holder := Lock()), some.held(holder):
            pass

    return Thread(target=use)


def test_never_more_threads_than_slots() -> None:
    some, lock = slots(3), Lock()
    now, most, total = 0, 0, 0

    def work() -> None:
        nonlocal now, most, total
        for _ in range(50):
            with (holder := Lock()), some.held(holder):
                with lock:
                    now, total = now + 1, total + 1
                    most = max(most, now)
                sleep(0)
                with lock:
                    now -= 1

    with switching_often():
        all_at_once(*[work] * 8)
    assert total == 400
    assert most == 3


def test_nested_use_needs_one_slot() -> None:
    some = slots(1)
    with (holder := Lock()), some.held(holder):
        with (inner := Lock()), some.held(inner):
            pass
        waiting = holder_after(some)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive(), "the inner use gave the slot away"
    waiting.join(10)
    assert not waiting.is_alive()


def test_threads_get_slots_in_order() -> None:
    some, order = slots(1), list[int]()

    def work(number: int) -> None:
        with (holder := Lock()), some.held(holder):
            order.append(number)

    with (holder := Lock()), some.held(holder):
        threads = []
        for number in range(5):
            threads.append(Thread(target=work, args=(number,)))
            threads[-1].start()
            wait_until(lambda: some.num_waiting == len(threads))
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_ended_call_stops_waiting() -> None:
    some, end = slots(1), Event()
    thread = thread_with(some, end)
    with (
        pytest.raises(CaptionTimeout),
        Call(timeout_s=0.01).running(),
        (holder := Lock()),
        some.held(holder),
    ):
        pass
    call = Call()
    call.cancel()
    with pytest.raises(CaptionCancelled), call.running(), (holder := Lock()), some.held(holder):
        pass
    end.set()
    thread.join(10)
    with (holder := Lock()), some.held(holder):
        pass


def test_slot_given_to_an_ended_call_returns() -> None:
    """The call ends just when it is its turn."""
    some, first = Slots(), Lock()
    first.acquire()
    assert some.acquire(first, ())

    def waits() -> Iterator[float]:
        some.release(first)
        yield 0
        raise AssertionError("it has the slot")

    def ended() -> Iterator[float]:
        yield 0
        some.release(first)
        raise CaptionCancelled

    with pytest.raises(CaptionCancelled), (holder := Lock()), some.held(holder, ended()):
        pass
    assert (some.num_held, some.num_waiting) == (0, 0)
    assert some.acquire(first, ())
    with (holder := Lock()), some.held(holder, waits()) as is_in_time:
        assert is_in_time


def test_error_inside_returns_the_slot() -> None:
    some = slots(1)
    with pytest.raises(ZeroDivisionError), (holder := Lock()), some.held(holder):
        raise ZeroDivisionError
    with (holder := Lock()), some.held(holder):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_begins_with_free_slots() -> None:
    some, end = slots(1), Event()
    thread = thread_with(some, end)

    def use() -> str:
        with Call(timeout_s=10).running(), (holder := Lock()), some.held(holder):
            return "used"

    result = in_child(use)
    end.set()
    thread.join(10)
    assert result() == "used"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_only_cores_of_the_process_count() -> None:
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, every)
    assert usable_cores() == len(every)
