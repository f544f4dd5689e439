"""An interrupt at any point loses no turn, no core slot and no connection."""

from __future__ import annotations

import contextlib
from threading import Lock
from types import SimpleNamespace
from typing import Any

from ugsd_privacy import slots
from ugsd_privacy.slots import Slots
from ugsd_sdk.calls import call as calls
from ugsd_sdk.calls import core_slots, open_calls
from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.core_slots import CoreSlots
from ugsd_sdk.calls.open_calls import OpenCalls
from ugsd_sdk.connection import connection_pool
from ugsd_sdk.connection.connection_pool import ConnectionPool
from ugsd_sdk.connection.link_state import LinkState

from tests.doubles.busy_threads import all_at_once
from tests.doubles.interrupts import interrupts


def test_turn_of_a_profile_is_not_lost() -> None:
    turn, call = Slots(), Call()

    def work() -> None:
        with (holder := Lock()), call.holding(turn, holder):
            pass

    points = []
    for point in interrupts(work, slots, calls, contextlib):
        points.append(point)
        assert turn.num_held == turn.num_waiting == 0, point
        all_at_once(work)
    assert len(points) > 30


def test_core_slots_are_not_lost() -> None:
    some = CoreSlots(lambda: 1)

    def work() -> None:
        with (holder := Lock()), some.held(holder):
            assert some.num_held == 1

    points = []
    for point in interrupts(work, slots, core_slots, contextlib):
        points.append(point)
        assert some.num_held == some.num_waiting == 0, point
        work()
        all_at_once(work)
    assert len(points) > 20


def test_waiting_thread_gets_an_interrupted_slot() -> None:
    some, own = Slots(), Lock()

    def hold() -> None:
        with (holder := Lock()), some.held(holder, ()):
            pass

    for point in interrupts(hold, slots, contextlib):
        with own:
            assert some.acquire(own, [0.0]), point
            some.release(own)


def test_connections_are_not_lost() -> None:
    made: list[Any] = []

    def new() -> Any:
        made.append(SimpleNamespace(state=LinkState.READY, is_awaiting_answer=False))
        return made[-1]

    pool = ConnectionPool(new, size=1)

    def work() -> None:
        with (holder := Lock()):
            pool.release(pool.acquire(10, holder), holder)

    points = []
    for point in interrupts(work, slots, connection_pool, contextlib):
        points.append(point)
        all_at_once(work)
    assert len(points) > 20
    assert len(made) == 1


def test_calls_can_begin_after_an_interrupt() -> None:
    running = OpenCalls()

    def work() -> None:
        with running.running(Call()):
            pass

    points = []
    for point in interrupts(work, open_calls, contextlib):
        points.append(point)
        all_at_once(work)
    assert len(points) > 10
