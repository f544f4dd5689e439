"""One websocket connection (RFC 6455) on which no caller waits longer than its timeout.

A :class:`Conversation` implements the protocol over a :class:`ByteStream`; neither ever waits. A
thread of the connection waits for the socket, answers pings and ends the connection; only this
thread resolves names and connects. Callers wait for it on a condition, with a deadline. A holder of
the condition's lock does a bounded amount of work and waits for nothing.

::

    CONNECTING ── upgraded ──> OPEN ── close(), a fault, or the peer closes ──> CLOSING ──> CLOSED
        └───────────── no connection in time, no TLS, no upgrade, close() ──────────────────^
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import Condition, Thread
from time import monotonic

from ugsd_privacy.forks import call_in_children
from websockets.uri import WebSocketURI

from ugsd_sdk.errors import TransportError, VerifierTimeout
from ugsd_sdk.transport import failures
from ugsd_sdk.transport.conversation import Conversation, Upgraded
from ugsd_sdk.transport.stream import ByteStream, begin_connecting, require_connected

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
    """A connection to ``uri``, opened once by :meth:`open`. Methods raise only
    :class:`TransportError`; any thread may call :meth:`close` at any time."""

    def __init__(self, uri: WebSocketURI) -> None:
        self._uri = uri
        self._changed = Condition()
        """Guards all attributes below; notified when a frame arrived or the phase changed."""
        self._phase = _Phase.CONNECTING
        self._failure: Callable[[], TransportError] | None = None
        """Creates the error that callers get from now on."""
        self._conversation = Conversation(uri)
        self._stream: ByteStream | None = None
        self._connecting: socket.socket | None = None
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
        host, port = self._uri.host, self._uri.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            tcp = self._first_of([(family, address) for family, _, _, _, address in found])
            tls = ssl.create_default_context() if self._uri.secure else None
            stream = ByteStream(tcp, tls=tls, host=host)
            while not stream.handshake():
                self._wait(tcp, write=stream.pending_bytes > 0, ends_s=self._connect_ends_s)
        except ssl.SSLError as error:
            raise failures.without_tls(error, f"{host}:{port}") from error
        except (OSError, UnicodeError, ValueError) as error:  # an invalid name, too
            raise self._conversation.nobody_there() from error
        with self._changed:
            if self._phase is not _Phase.CONNECTING:
                raise _Closing
            self._stream, self._connecting = stream, None
            self._conversation.begin()
            self._write()

    def _first_of(self, addresses: list[tuple[int, tuple[object, ...]]]) -> socket.socket:
        """Return a socket connected to the first address that answers. Each address gets an equal
        share of the remaining time."""
        for index, (family, address) in enumerate(addresses):
            self._require_not_closed()
            remaining_s = max(self._connect_ends_s - monotonic(), 0)
            ends_s = monotonic() + remaining_s / (len(addresses) - index)
            try:
                self._connecting = tcp = begin_connecting(family, address)
                self._wait(tcp, read=False, write=True, ends_s=ends_s)
                require_connected(tcp)
            except OSError:
                self._drop_connecting()
                continue
            return tcp
        raise self._conversation.nobody_there()

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
                write = stream.pending_bytes > 0
            try:
                self._wait(stream.socket, write=write, ends_s=ends_s)
            except TimeoutError:
                return

    def _wait(
        self, tcp: socket.socket, *, read: bool = True, write: bool, ends_s: float | None
    ) -> None:
        """Wait for the socket or for :meth:`_wake_thread`. Raises ``TimeoutError``, and
        ``_Closing`` if the connection was closed."""
        timeout_s = None if ends_s is None else ends_s - monotonic()
        if timeout_s is not None and timeout_s <= 0:  # a peer that sends slowly is always ready
            raise TimeoutError
        with _Selector() as selector:
            selector.register(self._wake_ends[0], selectors.EVENT_READ)
            events = read * selectors.EVENT_READ | write * selectors.EVENT_WRITE
            selector.register(tcp, events)
            ready = selector.select(timeout_s)
        if not ready and timeout_s is not None:
            raise TimeoutError
        with suppress(BlockingIOError):
            self._wake_ends[0].recv(64)
        self._require_not_closed()

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
            self._drop_connecting()
            for end in self._wake_ends:
                end.close()
            self._changed.notify_all()

    def _drop_connecting(self) -> None:
        if self._connecting is not None:
            self._connecting.close()
            self._connecting = None

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
                    self._phase = _Phase.OPEN
            elif event.is_abrupt:
                self._break_off(event.make)
            else:
                self._fail(event.make)
        self._changed.notify_all()
        if data == b"":
            self._break_off(failures.lost)
        else:
            self._write()

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
        tcp = self._connecting if self._stream is None else self._stream.socket
        self._stream = self._connecting = None
        for end in (tcp, *self._wake_ends):
            if end is not None:
                end.close()
