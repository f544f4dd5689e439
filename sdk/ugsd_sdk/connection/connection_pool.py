"""One user's connections to the verifier, each used by one caption at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from time import monotonic

from ugsd_privacy.forks import call_in_children

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.connection.link_state import LinkState
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import VerifierTimeout, VerifierUnreachable

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """Makes connections as captions need them, at most ``size`` at a time. Any thread may use it.

    A caption that is made alone always gets the same connection. In a forked process the pool is
    closed, since the connections belong to the parent.
    """

    def __init__(self, new: Callable[[], VerifierConnection], *, size: int) -> None:
        self._new = new
        self._size = size
        self._condition = Condition()
        self._idle = [new()]
        """In the order of their return; the last one is used next."""
        self._in_use: list[VerifierConnection] = []
        self._is_stopped = False
        call_in_children(self._forget_in_child)

    @property
    def first(self) -> VerifierConnection:
        """A connection of the pool: the one that is used next, if any is idle."""
        with self._condition:
            return (self._idle or self._in_use)[-1]

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip to the verifier, measured without content; ``None`` without a session."""
        return self.first.round_trip

    @property
    def is_connected(self) -> bool:
        """Whether any connection has a session."""
        return LinkState.READY in self._states()

    def _states(self) -> set[LinkState]:
        with self._condition:
            return {link.state for link in (*self._idle, *self._in_use)}

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
        link = self.acquire(timeout_s)
        try:
            yield link
        finally:
            self.release(link)

    def acquire(self, timeout_s: float) -> VerifierConnection:
        """Return a connection that nobody else uses until :meth:`release`, one with a session if
        there is any. Wait for one for at most ``timeout_s`` if all are in use.

        Raises :class:`VerifierTimeout` if none came back in time, and :class:`VerifierUnreachable`
        if the pool is closed; or a ``CallEnded`` of the current call.
        """
        with self._condition:
            slices = current_call().slices(max(timeout_s, 0))
            if not any(self._condition.wait_for(self._has_one, wait_s) for wait_s in slices):
                raise VerifierTimeout(
                    "other captions of this user hold all connections to the verifier: wait for "
                    "them, or raise verifier.connections_per_user"
                )
            if self._is_stopped:
                raise VerifierUnreachable("the captioner was closed: create another")
            if not self._idle:
                self._idle.append(self._new())
            ready = [link for link in self._idle if link.state is LinkState.READY]
            link = (ready or self._idle)[-1]
            self._idle.remove(link)
            self._in_use.append(link)
            return link

    def release(self, link: VerifierConnection) -> None:
        """Return a connection that was acquired."""
        with self._condition:
            self._in_use.remove(link)
            self._idle.append(link)
            self._condition.notify()

    def _has_one(self) -> bool:
        return self._is_stopped or bool(self._idle) or len(self._in_use) < self._size

    def stop(self) -> None:
        """Stop connecting, and end the waits of every thread. Call :meth:`close` next."""
        with self._condition:
            self._is_stopped = True
            links = [*self._idle, *self._in_use]
            self._condition.notify_all()
        for link in links:
            link.stop()

    def close(self) -> None:
        """Close all connections. May be called again."""
        self.stop()
        with self._condition:
            links = [*self._idle, *self._in_use]
        for link in links:
            link.close()

    def disconnect(self) -> None:
        """Close the connections that are not in use; the next caption opens one again."""
        with self._condition:
            if self._is_stopped:
                return
            idle, self._idle = self._idle, [] if self._in_use else [self._new()]
        for link in idle:
            link.close()

    def _forget_in_child(self) -> None:
        self._condition = Condition()  # a thread of the parent may have held the other one
