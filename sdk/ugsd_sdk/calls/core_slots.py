"""No more threads compute captions at once than there are processor cores.

More of them make nothing faster. Each takes the caches from the others, and they pass Python's
global interpreter lock (GIL) around, so that all captions together take longer (decision 060).
Waits for a verifier, a pipe or a lock do not need a core, and are made without a slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local

from ugsd_privacy.forks import call_in_children
from ugsd_privacy.slots import Slots

from ugsd_sdk.calls.call import Call, current_call

__all__ = ["CORE_SLOTS", "CoreSlots", "usable_cores"]

_WAIT_SLICE_S = 0.1
"""The longest wait that does not look whether the call has ended. A wait needs the GIL to end, so
that shorter ones of many threads would delay those that compute."""


def usable_cores() -> int:
    """Return how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CoreSlots:
    """A slot for each core. Threads that find none wait for one in the order in which they came.

    A forked process begins with free slots.
    """

    def __init__(self, count: Callable[[], int] = usable_cores) -> None:
        """``count`` returns how many slots there are; it is asked when one is needed."""
        self._count = count
        self._begin()
        call_in_children(self._begin)

    def _begin(self) -> None:
        self._slots = Slots(self._count)
        self._own = local()
        """The holder of the slot that the current thread has."""

    @property
    def num_held(self) -> int:
        """How many slots are held."""
        return self._slots.num_held

    @property
    def num_waiting(self) -> int:
        """How many threads wait for a slot."""
        return self._slots.num_waiting

    @contextmanager
    def held(self, holder: Lock) -> Iterator[None]:
        """Hold a slot inside the block, in the name of ``holder`` (:mod:`ugsd_privacy.slots`). A
        thread that holds one needs no second one.

        Raises :class:`CallEnded` if the thread's call has ended while this waits.
        """
        slots, own = self._slots, self._own
        outer: Lock | None = getattr(own, "holder", None)
        if outer is not None and outer.locked():
            yield
            return
        with slots.held(holder, _slices(current_call())):
            own.holder = holder
            try:
                yield
            finally:
                own.holder = None


def _slices(call: Call) -> Iterator[float]:
    while True:
        yield _WAIT_SLICE_S
        call.check()


CORE_SLOTS = CoreSlots()
"""Those of this process, which all captioners share."""
