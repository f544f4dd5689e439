"""One websocket connection (RFC 6455) on which no caller waits longer than its timeout.

A :class:`Conversation` implements the protocol over a :class:`ByteStream`; neither ever waits. A
thread of the connection waits for the socket, sends and answers pings, and ends the connection;
only this thread resolves names and connects. Callers wait for it on a condition, with a deadline. A
holder of the condition's lock does a bounded amount of work and waits for nothing.

::

    CONNECTING ── upgraded ──> OPEN ── close(), a fault, or the peer closes ──> CLOSING ──> CLOSED
        └───────────── no connection in time, no TLS, no upgrade, close() ──────────────────^
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from enum import Enum
from threading import Condition, Thread
from time import monotonic

from ugsd_privacy.forks import call_in_children
from websockets.uri import WebSocketURI

from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.concurrency.uptime import uptime_s
from ugsd_sdk.errors import TransportError, VerifierTimeout
from ugsd_sdk.transport import failures
from ugsd_sdk.transport.conversation import Conversation, Ponged, Upgraded
from ugsd_sdk.transport.dialling import Dialling
from ugsd_sdk.transport.heartbeat import Heartbeat
from ugsd_sdk.transport.proxy import Proxy
from ugsd_sdk.transport.stream import ByteStream

__all__ = ["Connection"]

_logger = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 0.5
"""How long a peer may take to end a connection that is being closed."""
_MAX_PENDING_BYTES = 256 * 1024
"""Most bytes buffered until the peer reads: far more than all frames of a caption."""

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Neither selector has a file descriptor, which a forked process would share."""


class _Phase(Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class _Closing(Exception):
    """The connection was closed in the meantime."""


class Connection:
    """A connection to ``uri``, through ``proxy`` if there is one, opened once by :meth:`open`.
    Methods raise only :class:`TransportError`; any thread may call :meth:`close` at any time."""

    def __init__(self, uri: WebSocketURI, proxy: Proxy | None = None) -> None:
        self._changed = Condition()
        """Guards all attributes below; notified when a frame arrived or the phase changed."""
        self._phase = _Phase.CONNECTING
        self._failure: Callable[[], TransportError] | None = None
        """Creates the error that callers get from now on."""
        self._dialling = Dialling(uri, proxy)
        self._conversation = Conversation(uri, self._dialling.where)
        self._stream: ByteStream | None = None
        self._heartbeat = Heartbeat(uptime_s())
        """Begins again with the upgrade."""
        self._close_ends_s = 0.0
        self._wake_ends: tuple[socket.socket, ...] = ()
        """A socket pair: a byte sent to the second wakes the thread, which watches the first."""
        self._thread = Thread(target=self._run, daemon=True, name="ugsd-websocket")
        self._connect_ends_s = 0.0
        call_in_children(self._forget_in_child)

    # -- called by the user's threads

    def open(self, timeout_s: float) -> None:
        """Connect, with TLS for a wss address, and upgrade, within ``timeout_s``."""
        self._connect_ends_s = monotonic() + timeout_s
        try:
            self._wake_ends = socket.socketpair()
            for end in self._wake_ends:
                end.setblocking(False)
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self._end(failures.no_resources)
            raise failures.no_resources() from error
        with self._changed:
            while self._phase is _Phase.CONNECTING:
                remaining_s = self._connect_ends_s - monotonic()
                if remaining_s <= 0:
                    self._fail(self._conversation.nobody_there)
                else:
                    self._changed.wait(remaining_s)
            self._require_open()

    def send(self, data: bytes) -> None:
        """Send one binary message; buffer what the peer does not read yet."""
        with self._changed:
            self._require_open()
            self._conversation.send(data)
            self._write()
            self._require_open()
            if self._stream is not None and self._stream.pending_bytes:
                self._wake_thread()

    def receive(self, timeout_s: float) -> bytes:
        """Return the next binary message. Raises :class:`VerifierTimeout` after ``timeout_s``."""
        ends_s = monotonic() + max(timeout_s, 0)
        with self._changed:
            while True:
                if not self._conversation.unread and self._phase is _Phase.OPEN:
                    self._step()  # data may have arrived before the thread woke up
                if self._conversation.unread:
                    return self._conversation.unread.popleft()
                self._require_open()
                remaining_s = ends_s - monotonic()
                if remaining_s <= 0:
                    raise VerifierTimeout(
                        "the verifier did not answer in time: try again, or allow more time"
                    )
                self._changed.wait(remaining_s)

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip that pings measured; ``None`` before the first pong."""
        return self._heartbeat.round_trip

    @property
    def is_late(self) -> bool:
        """Whether a pong is overdue."""
        with self._changed:
            return self._heartbeat.is_late(uptime_s())

    def close(self) -> None:
        """Send a close frame and close; takes at most a second."""
        with self._changed:
            was_open = self._phase is _Phase.OPEN
            self._fail(failures.closed_here)
        if was_open:
            self._thread.join(2 * _CLOSE_TIMEOUT_S)

    def _require_open(self) -> None:
        if self._failure is not None:
            raise self._failure()

    # -- called by the connection's thread

    def _run(self) -> None:
        try:
            self._connect()
            self._serve()
        except _Closing:
            pass
        except TransportError as error:
            self._end(failures.always(error))
        except Exception as error:
            _logger.error("a connection failed: %s", type(error).__name__)  # noqa: TRY400
        self._end(self._lost())

    def _connect(self) -> None:
        try:
            stream = self._dialling.open(self._wait, self._connect_ends_s)
        except (OSError, UnicodeError, ValueError) as error:  # an invalid name, too
            raise self._conversation.nobody_there() from error
        with self._changed:
            if self._phase is not _Phase.CONNECTING:
                stream.close()
                raise _Closing
            self._stream = stream
            self._conversation.begin()
            self._write()

    def _serve(self) -> None:
        """Move bytes until the connection has ended."""
        while True:
            with self._changed:
                stream = self._stream
                if stream is None:
                    return
                self._step()
                if self._phase is _Phase.CLOSED:
                    return
                ends_s = {
                    _Phase.CONNECTING: self._connect_ends_s,
                    _Phase.CLOSING: self._close_ends_s,
                }.get(self._phase)
                wakes_s = monotonic() + self._heartbeat.wakes_s - uptime_s()
                writes = selectors.EVENT_WRITE if stream.pending_bytes else 0
            events = {stream.socket: selectors.EVENT_READ | writes}
            self._wait(events, wakes_s if ends_s is None else ends_s)
            if ends_s is not None and monotonic() >= ends_s:  # even if a slow peer still sends
                return

    def _wait(
        self, events: Mapping[socket.socket, int], ends_s: float
    ) -> Collection[socket.socket]:
        """Wait for the sockets, for :meth:`_wake_thread`, or until ``ends_s``; return the sockets
        that are ready. Raises ``_Closing`` if the connection was closed."""
        with _Selector() as selector:
            selector.register(self._wake_ends[0], selectors.EVENT_READ)
            for tcp, which in events.items():
                selector.register(tcp, which)
            ready = {key.fileobj for key, _ in selector.select(max(ends_s - monotonic(), 0))}
        with suppress(BlockingIOError):
            self._wake_ends[0].recv(64)
        self._require_not_closed()
        return [tcp for tcp in events if tcp in ready]

    def _require_not_closed(self) -> None:
        with self._changed:
            if self._phase is _Phase.CLOSED:
                raise _Closing

    def _end(self, failure: Callable[[], TransportError]) -> None:
        """Release the socket; callers get ``failure`` unless there was an earlier one."""
        with self._changed:
            self._failure = self._failure or failure
            self._phase = _Phase.CLOSED
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            self._dialling.close()
            for end in self._wake_ends:
                end.close()
            self._changed.notify_all()

    def _wake_thread(self) -> None:
        with suppress(OSError):  # it is awake already or has ended
            for end in self._wake_ends[1:]:
                end.send(b"\0")

    # -- the protocol; called with the lock held, and nothing waits

    def _step(self) -> None:
        """Process received data and send buffered data."""
        stream = self._stream
        if stream is None or self._phase is _Phase.CLOSED:
            return
        before = stream.received_bytes
        try:
            data = stream.receive()
            if data is not None:
                self._conversation.receive(data)
        except (OSError, EOFError):
            self._break_off(self._lost())
            return
        for event in self._conversation.events(stream.received_bytes - before):
            if isinstance(event, Upgraded):
                if self._phase is _Phase.CONNECTING:
                    self._phase, self._heartbeat = _Phase.OPEN, Heartbeat(uptime_s())
            elif isinstance(event, Ponged):
                self._heartbeat.pong(event.payload, uptime_s())
            elif event.is_abrupt:
                self._break_off(event.make)
            else:
                self._fail(event.make)
        self._changed.notify_all()
        if data == b"":
            self._break_off(failures.lost)
        else:
            self._beat()
            self._write()

    def _beat(self) -> None:
        """Send a ping that is due; break off a connection whose peer has gone without a sign."""
        if self._phase is not _Phase.OPEN:
            return
        now_s = uptime_s()
        if self._heartbeat.is_lost(now_s):
            self._break_off(failures.lost)
        elif (payload := self._heartbeat.ping(now_s)) is not None:
            self._conversation.ping(payload)

    def _write(self) -> None:
        stream = self._stream
        if stream is None or self._phase is _Phase.CLOSED:
            return
        try:
            for data in self._conversation.data_to_send():
                stream.send(data)
            stream.flush()
        except OSError:
            self._break_off(self._lost())
            return
        if stream.pending_bytes > _MAX_PENDING_BYTES:
            self._break_off(failures.flooded)

    def _fail(self, failure: Callable[[], TransportError]) -> None:
        """Start closing the connection; callers get the first ``failure``."""
        if self._failure is None:
            self._failure = failure
        self._conversation.end()
        if self._phase is _Phase.CONNECTING:
            self._phase = _Phase.CLOSED
        elif self._phase is _Phase.OPEN:
            self._phase, self._close_ends_s = _Phase.CLOSING, monotonic() + _CLOSE_TIMEOUT_S
            self._write()
        self._wake_thread()
        self._changed.notify_all()

    def _break_off(self, failure: Callable[[], TransportError]) -> None:
        """End the connection without a close frame; callers get the first ``failure``."""
        self._phase = _Phase.CLOSED
        self._fail(failure)

    def _lost(self) -> Callable[[], TransportError]:
        """Return the error for a failed socket: before the upgrade, that no verifier answers."""
        return (
            self._conversation.nobody_there if self._phase is _Phase.CONNECTING else failures.lost
        )

    def _forget_in_child(self) -> None:
        """Close this process's descriptors; the connection belongs to the parent."""
        self._changed = Condition()  # a thread of the parent may have held the other one
        self._failure, self._phase = failures.forked, _Phase.CLOSED
        stream, self._stream = self._stream, None
        self._dialling.close()
        for end in (stream and stream.socket, *self._wake_ends):
            if end is not None:
                end.close()
