"""Locks and slots that an exception at any point cannot lose.

A ``KeyboardInterrupt`` may come between any two bytecodes: also after a lock was acquired and
before the ``try`` that releases it, or inside that release. So a slot belongs to a *holder*, a lock
that a ``with`` statement of the code that needs the slot holds::

    with (holder := Lock()), slots.held(holder, waits):
        ...

CPython acquires and releases ``holder`` in C, and checks for signals at neither point. A slot is
held for as long as its holder is locked: one whose block has ended is free, whether it was returned
or not. Returning it only spares the next thread a wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["Slots"]


class Slots:
    """As many slots as ``count`` returns. Threads that find none wait for one in the order in which
    they came."""

    def __init__(self, count: Callable[[], int] = lambda: 1) -> None:
        self._count = count
        self._lock = Lock()
        """Guards the two below; held for a moment only, and only by ``with``."""
        self._holders: set[Lock] = set()
        self._waiting: deque[tuple[Lock, Lock]] = deque()
        """The holder of each waiting thread, and a locked lock that is unlocked to wake it."""

    @property
    def num_held(self) -> int:
        """How many slots are held."""
        with self._lock:
            num_held = sum(holder.locked() for holder in self._holders)
        return num_held  # noqa: RET504  # a return within the block could lose the lock

    @property
    def num_waiting(self) -> int:
        """How many threads wait."""
        with self._lock:
            num_waiting = sum(holder.locked() for holder, _ in self._waiting)
        return num_waiting  # noqa: RET504  # as above

    def is_holder(self, holder: Lock) -> bool:
        """Whether ``holder``, which is locked, has a slot."""
        with self._lock:
            return holder in self._holders

    def acquire(self, holder: Lock, waits: Iterable[float]) -> bool:
        """Give ``holder`` a slot, and return whether there was one in time.

        ``waits`` yields the timeouts, in seconds, of the waits to make one after another; what it
        raises ends them.
        """
        wake = Lock()
        wake.acquire()
        try:
            with self._lock:
                self._waiting.append((holder, wake))
                self._hand_out()
                if holder in self._holders:
                    return True
            for wait_s in waits:
                wake.acquire(timeout=wait_s)
                with self._lock:
                    self._hand_out()  # nobody wakes it for a slot that was not returned
                    if holder in self._holders:
                        return True
        except BaseException:
            self.release(holder)
            raise
        self.release(holder)
        return False

    def release(self, holder: Lock) -> None:
        """Return the slot of ``holder`` and end its wait, whichever it has; it may have neither."""
        with self._lock:
            self._holders.discard(holder)
            for waiting in [each for each in self._waiting if each[0] is holder]:
                self._waiting.remove(waiting)
            self._hand_out()

    @contextmanager
    def held(self, holder: Lock, waits: Iterable[float]) -> Iterator[bool]:
        """Hold a slot inside the block; yield whether there was one in time."""
        try:
            yield self.acquire(holder, waits)
        finally:
            self.release(holder)

    def _hand_out(self) -> None:
        """Give free slots to those who wait longest; the lock is held. It may be interrupted
        anywhere: the next one that is called goes on."""
        self._holders = {holder for holder in self._holders if holder.locked()}
        while self._waiting:
            holder, wake = self._waiting[0]
            if holder.locked():
                if holder not in self._holders and len(self._holders) >= self._count():
                    return
                self._holders.add(holder)
            self._waiting.popleft()
            wake.release()
