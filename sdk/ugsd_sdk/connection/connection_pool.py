"""One user's connections to the verifier, each used by one caption at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from threading import Lock
from time import monotonic

from ugsd_privacy.forks import call_in_children
from ugsd_privacy.slots import Slots

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.connection.link_state import LinkState
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import VerifierTimeout, VerifierUnreachable

__all__ = ["ConnectionPool"]


@dataclass(eq=False)
class _Pooled:
    link: VerifierConnection
    holder: Lock | None = None
    """Locked for as long as the caption lasts that uses it (:mod:`ugsd_privacy.slots`)."""
    num_return: int = 0

    @property
    def is_idle(self) -> bool:
        return self.holder is None or not self.holder.locked()

    @property
    def preference(self) -> tuple[bool, bool, int]:
        link = self.link
        return link.state is LinkState.READY, not link.is_awaiting_answer, self.num_return


class ConnectionPool:
    """Makes connections as captions need them, at most ``size`` at a time. Any thread may use it.

    A caption that is made alone always gets the same connection. In a forked process the pool is
    closed, since the connections belong to the parent.
    """

    def __init__(self, new: Callable[[], VerifierConnection], *, size: int) -> None:
        self._new = new
        self._size = size
        self._begin()
        self._pooled = [_Pooled(new())]
        self._returns = count(1)
        self._is_stopped = False
        call_in_children(self._forget_in_child)

    def _begin(self) -> None:
        self._lock = Lock()
        self._slots = Slots(lambda: self._size)

    @property
    def first(self) -> VerifierConnection:
        """A connection of the pool: the one that is used next, if any is idle."""
        with self._lock:
            return max(self._pooled, key=lambda each: (each.is_idle, each.preference)).link

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip to the verifier, measured without content; ``None`` without a session."""
        return self.first.round_trip

    @property
    def is_connected(self) -> bool:
        """Whether any connection has a session."""
        return LinkState.READY in self._states()

    def _states(self) -> set[LinkState]:
        with self._lock:
            states = {each.link.state for each in self._pooled}
        return states  # noqa: RET504  # a return within the block could lose the lock

    def start_connecting(self) -> None:
        """Start connecting with one connection, unless it is connected. Returns at once."""
        self.first.start_connecting()

    def wait_until_connected(self, timeout_s: float) -> None:
        """Wait until a connection is connected; retry at once after an earlier failure. Raises a
        ``TransportError`` or ``PrivacyError``."""
        ends_s = monotonic() + timeout_s
        with self.acquired(timeout_s) as link:
            link.session(max(ends_s - monotonic(), 0), insist=True)

    @contextmanager
    def acquired(self, timeout_s: float) -> Iterator[VerifierConnection]:
        """Acquire a connection for as long as the context lasts, as :meth:`acquire` does."""
        with (holder := Lock()):
            link = self.acquire(timeout_s, holder)
            try:
                yield link
            finally:
                self.release(link, holder)

    def acquire(self, timeout_s: float, holder: Lock | None = None) -> VerifierConnection:
        """Return a connection that nobody else uses until :meth:`release`, or until ``holder`` is
        unlocked, which the caller holds. One with a session is preferred, and one whose last
        question was answered. Wait for one for at most ``timeout_s`` if all are in use.

        Raises :class:`VerifierTimeout` if none came back in time, and :class:`VerifierUnreachable`
        if the pool is closed; or a ``CallEnded`` of the current call.
        """
        if holder is None:
            holder = Lock()
            holder.acquire()
        try:
            return self._lent(holder, timeout_s)
        except BaseException:
            self._slots.release(holder)
            raise

    def _lent(self, holder: Lock, timeout_s: float) -> VerifierConnection:
        is_in_time = self._slots.acquire(holder, self._slices(timeout_s))
        if self._is_stopped:
            raise VerifierUnreachable("the captioner was closed: create another")
        if not is_in_time:
            raise VerifierTimeout(
                "other captions of this user hold all connections to the verifier: wait for "
                "them, or raise verifier.connections_per_user"
            )
        with self._lock:
            idle = [each for each in self._pooled if each.is_idle]
            if not idle:
                idle = [_Pooled(self._new())]
                self._pooled += idle
            chosen = max(idle, key=lambda each: each.preference)
            chosen.holder = holder
            return chosen.link

    def _slices(self, timeout_s: float) -> Iterator[float]:
        for wait_s in current_call().slices(max(timeout_s, 0)):
            if self._is_stopped:
                return
            yield wait_s

    def release(self, link: VerifierConnection, holder: Lock | None = None) -> None:
        """Return a connection that was acquired, by ``holder`` if it was given then."""
        with self._lock:
            pooled = next((each for each in self._pooled if each.link is link), None)
            lent = None if pooled is None else pooled.holder
            if pooled is None or lent is None or holder not in {None, lent}:
                return  # it was taken back
            pooled.num_return, pooled.holder = next(self._returns), None
        self._slots.release(lent)

    def stop(self) -> None:
        """Stop connecting, and end the waits of every thread. Call :meth:`close` next."""
        with self._lock:
            self._is_stopped = True
            links = [each.link for each in self._pooled]
        for link in links:
            link.stop()

    def close(self) -> None:
        """Close all connections. May be called again."""
        self.stop()
        with self._lock:
            links = [each.link for each in self._pooled]
        for link in links:
            link.close()

    def disconnect(self) -> None:
        """Close the connections that are not in use; the next caption opens one again."""
        with self._lock:
            if self._is_stopped:
                return
            idle = [each for each in self._pooled if each.is_idle]
            in_use = [each for each in self._pooled if each not in idle]
            self._pooled = in_use or [_Pooled(self._new())]
        for each in idle:
            each.link.close()

    def _forget_in_child(self) -> None:
        self._begin()  # a thread of the parent may have held the other locks
