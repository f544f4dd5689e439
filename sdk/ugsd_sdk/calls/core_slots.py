"""No more threads compute captions at once than there are processor cores.

More of them make nothing faster. Each takes the caches from the others, and they pass Python's
global interpreter lock (GIL) around, so that all captions together take longer (decision 060).
Waits for a verifier, a pipe or a lock do not need a core, and are made without a slot.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local

from ugsd_privacy.forks import call_in_children

from ugsd_sdk.calls.call import current_call

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
        """``count`` returns how many slots there are; it is asked when the first one is needed."""
        self._count = count
        self._begin()
        call_in_children(self._begin)

    def _begin(self) -> None:
        self._queue = _Queue(self._count)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a slot inside the block. A thread that holds one needs no second one.

        Raises :class:`CallEnded` if the thread's call has ended while this waits.
        """
        queue = self._queue
        if getattr(queue.own, "is_held", False):
            yield
            return
        queue.acquire(current_call().check)
        queue.own.is_held = True
        try:
            yield
        finally:
            queue.own.is_held = False
            queue.release()


class _Queue:
    def __init__(self, count: Callable[[], int]) -> None:
        self.own = local()
        """Whether the current thread holds a slot."""
        self._count = count
        self._lock = Lock()
        """Guards the two below; held for a moment only."""
        self._num_held = 0
        self._waiting: deque[Lock] = deque()
        """A locked lock for each waiting thread, which is unlocked to hand it a slot."""

    def acquire(self, check: Callable[[], None]) -> None:
        with self._lock:
            if not self._waiting and self._num_held < self._count():
                self._num_held += 1
                return
            turn = Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            while not turn.acquire(timeout=_WAIT_SLICE_S):
                check()
        except BaseException:
            self._give_up(turn)
            raise

    def _give_up(self, turn: Lock) -> None:
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        self.release()  # it was handed a slot in the meantime

    def release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._num_held -= 1


CORE_SLOTS = CoreSlots()
"""Those of this process, which all captioners share."""
