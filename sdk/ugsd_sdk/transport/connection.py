"""One websocket connection (RFC 6455) on which no caller waits longer than it asked to.

The protocol is the library's sans-I/O core over a :class:`ByteStream`, which never waits. A thread
of the connection's own waits for the socket, answers pings and ends the connection; it is the only
one that resolves names and connects. Callers wait for that thread on a condition, with a deadline.
Whoever holds the condition's lock does a bounded amount of work and waits for nothing.

::

    CONNECTING ── upgraded ──> OPEN ── close(), a fault, or the peer closes ──> CLOSING ──> CLOSED
        └───────────── no connection in time, no TLS, no upgrade, close() ──────────────────^

What a peer may send is bounded: frames of :data:`MAX_FRAME_BYTES`, few unread ones, and, since our
last frame, few bytes, control frames and fragments beside them; see :class:`Allowance`.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import Condition, Thread
from time import monotonic

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State as ProtocolState
from websockets.uri import WebSocketURI

from ugsd_sdk.concurrency.forks import call_in_children
from ugsd_sdk.errors import TransportError, VerifierTimeout, VerifierUnreachable
from ugsd_sdk.transport import MAX_FRAME_BYTES, failures
from ugsd_sdk.transport.allowance import Allowance
from ugsd_sdk.transport.stream import ByteStream, begin_connecting, require_connected

__all__ = ["Connection"]

_logger = logging.getLogger(__name__)
_SILENT = logging.Logger("ugsd_sdk.transport.connection", logging.CRITICAL + 1)
"""The library would log a peer's failures, which are not ours to keep."""

_NORMAL = 1000  # RFC 6455 §7.4.1
_FAREWELL_S = 0.5
"""How long a peer may take to end a connection that is being closed."""
_MAX_UNREAD = 4
"""Frames that nobody has read yet."""
_MAX_PENDING_BYTES = 256 * 1024
"""Bytes that wait until the peer reads: far more than all frames of a caption."""

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Neither has a descriptor of its own, which a forked process would share."""


class _Phase(Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class _Closing(Exception):
    """The connection was closed meanwhile."""


class Connection:
    """A connection to ``uri``, opened once by :meth:`open`. Every method raises a
    :class:`TransportError` and nothing else; threads may call :meth:`close` at any time."""

    def __init__(self, uri: WebSocketURI) -> None:
        self._uri = uri
        self._changed = Condition()
        """Guards all that follows; notified when a frame has arrived or the phase has changed."""
        self._phase = _Phase.CONNECTING
        self._failure: Callable[[], TransportError] | None = None
        """Makes the error that callers get from now on."""
        self._protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES, logger=_SILENT)
        self._allowance = Allowance()
        self._stream: ByteStream | None = None
        self._connecting: socket.socket | None = None
        self._unread: deque[bytes] = deque()
        self._parts: list[bytes] = []
        """Of a fragmented message, so far."""
        self._linger_ends_s = 0.0
        self._wake_ends: tuple[socket.socket, ...] = ()
        """What is sent to the second one wakes our thread, which waits for the first one too."""
        self._thread = Thread(target=self._run, daemon=True, name="ugsd-websocket")
        self._connect_ends_s = 0.0
        call_in_children(self._forget_in_child)

    # -- what callers do

    def open(self, timeout_s: float) -> None:
        """Connect, with TLS where the address asks for it, and upgrade; within ``timeout_s``."""
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
                left_s = self._connect_ends_s - monotonic()
                if left_s <= 0:
                    self._fail(self._nobody_there)
                else:
                    self._changed.wait(left_s)
            self._require_open()

    def send(self, data: bytes) -> None:
        """Send one binary message. What the peer does not read yet is sent when it does."""
        with self._changed:
            self._require_open()
            self._allowance.renew()
            self._protocol.send_binary(data)
            self._write()
            self._require_open()
            if self._stream is not None and self._stream.pending_bytes:
                self._awake()

    def receive(self, timeout_s: float) -> bytes:
        """The next binary message. Raises :class:`VerifierTimeout` after ``timeout_s``."""
        ends_s = monotonic() + max(timeout_s, 0)
        with self._changed:
            while True:
                if not self._unread and self._phase is _Phase.OPEN:
                    self._step()  # what has arrived counts, though our thread has yet to wake
                if self._unread:
                    return self._unread.popleft()
                self._require_open()
                left_s = ends_s - monotonic()
                if left_s <= 0:
                    raise VerifierTimeout("the verifier did not answer in time")
                self._changed.wait(left_s)

    def close(self) -> None:
        """Say goodbye and close. Waits for at most a second, and only for a peer that reads."""
        with self._changed:
            was_open = self._phase is _Phase.OPEN
            self._fail(failures.closed_here)
        if was_open:
            self._thread.join(2 * _FAREWELL_S)

    def _require_open(self) -> None:
        if self._failure is not None:
            raise self._failure()

    # -- what the thread does

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
        self._end(self._nobody_there if self._phase is _Phase.CONNECTING else failures.lost)

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
        except (OSError, UnicodeError, ValueError) as error:  # of the name, too
            raise self._nobody_there() from error
        with self._changed:
            if self._phase is not _Phase.CONNECTING:
                raise _Closing
            self._stream, self._connecting = stream, None
            self._protocol.send_request(self._protocol.connect())
            self._write()

    def _first_of(self, addresses: list[tuple[int, tuple[object, ...]]]) -> socket.socket:
        """Connected to the first address that answers, each for its share of the time left."""
        for index, (family, address) in enumerate(addresses):
            self._require_wanted()
            left_s = max(self._connect_ends_s - monotonic(), 0)
            ends_s = monotonic() + left_s / (len(addresses) - index)
            try:
                self._connecting = tcp = begin_connecting(family, address)
                self._wait(tcp, read=False, write=True, ends_s=ends_s)
                require_connected(tcp)
            except OSError:
                self._drop_connecting()
                continue
            return tcp
        raise self._nobody_there()

    def _serve(self) -> None:
        """Until the connection is over."""
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
                    _Phase.CLOSING: self._linger_ends_s,
                }.get(self._phase)
                write = stream.pending_bytes > 0
            try:
                self._wait(stream.socket, write=write, ends_s=ends_s)
            except TimeoutError:
                return

    def _wait(
        self, tcp: socket.socket, *, read: bool = True, write: bool, ends_s: float | None
    ) -> None:
        """Wait for the socket, or to be awoken. Raises ``TimeoutError``, and ``_Closing`` if the
        connection is not wanted any more."""
        timeout_s = None if ends_s is None else ends_s - monotonic()
        if timeout_s is not None and timeout_s <= 0:  # a peer that drips is always ready
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
        self._require_wanted()

    def _require_wanted(self) -> None:
        with self._changed:
            if self._phase is _Phase.CLOSED:
                raise _Closing

    def _end(self, failure: Callable[[], TransportError]) -> None:
        """Let go of the socket; callers get ``failure`` unless there was one before."""
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

    def _awake(self) -> None:
        with suppress(OSError):  # awake already, or ended
            for end in self._wake_ends[1:]:
                end.send(b"\0")

    # -- the protocol; the lock is held, and nothing waits

    def _step(self) -> None:
        """Take what has arrived, and send what waits."""
        stream, protocol = self._stream, self._protocol
        if stream is None or self._phase is _Phase.CLOSED:
            return
        before = stream.received_bytes
        try:
            data = stream.receive()
            if data:
                protocol.receive_data(data)
            elif data is not None:
                protocol.receive_eof()
        except (OSError, EOFError):
            self._break_off(
                self._nobody_there if self._phase is _Phase.CONNECTING else failures.lost
            )
            return
        self._take_events(stream.received_bytes - before)
        if data == b"":
            self._break_off(failures.lost)
        else:
            self._write()

    def _take_events(self, received_bytes: int) -> None:
        events, beside = self._protocol.events_received(), 0
        for event in events:
            if not isinstance(event, Frame):  # the answer to the upgrade
                continue
            if event.opcode in {Opcode.BINARY, Opcode.CONT}:
                beside += not event.fin
                self._take(event)
            elif event.opcode is Opcode.TEXT:
                self._fail(failures.sent_text)
            elif event.opcode in {Opcode.PING, Opcode.PONG}:
                beside += 1
        self._follow_protocol()
        if not self._allowance.allows(frames=beside, received_bytes=received_bytes):
            is_upgraded = self._phase is not _Phase.CONNECTING
            self._break_off(failures.flooded if is_upgraded else self._nobody_there)

    def _take(self, frame: Frame) -> None:
        self._parts.append(bytes(frame.data))
        if not frame.fin or self._failure is not None:
            return
        self._unread.append(b"".join(self._parts))
        self._parts.clear()
        if len(self._unread) > _MAX_UNREAD:
            self._fail(failures.flooded)
        self._changed.notify_all()

    def _follow_protocol(self) -> None:
        """Draw the consequences of what the protocol made of the bytes."""
        protocol = self._protocol
        if self._phase is _Phase.CONNECTING:
            if protocol.handshake_exc is not None:
                self._break_off(self._nobody_there)
            elif protocol.state is not ProtocolState.CONNECTING:
                self._phase = _Phase.OPEN
                self._changed.notify_all()
        if protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            self._fail(failures.broke_protocol)
        elif protocol.close_rcvd is not None:
            code = protocol.close_rcvd.code
            self._fail(lambda: failures.closed_there(code))
        elif protocol.parser_exc is not None:
            self._fail(failures.lost)

    def _write(self) -> None:
        stream = self._stream
        if stream is None or self._phase is _Phase.CLOSED:
            return
        try:
            for data in self._protocol.data_to_send():
                if data:  # else the library would half-close: we close when the peer has, or soon
                    stream.send(data)
            stream.flush()
        except OSError:
            self._break_off(
                self._nobody_there if self._phase is _Phase.CONNECTING else failures.lost
            )
            return
        if stream.pending_bytes > _MAX_PENDING_BYTES:
            self._break_off(failures.flooded)

    def _fail(self, failure: Callable[[], TransportError]) -> None:
        """Begin to end the connection; callers get the first ``failure``."""
        if self._failure is None:
            self._failure = failure
        if self._phase is _Phase.CONNECTING:
            self._phase = _Phase.CLOSED
        elif self._phase is _Phase.OPEN:
            self._phase, self._linger_ends_s = _Phase.CLOSING, monotonic() + _FAREWELL_S
            if self._protocol.state is ProtocolState.OPEN:
                self._protocol.send_close(_NORMAL)
            self._write()
        self._awake()
        self._changed.notify_all()

    def _break_off(self, failure: Callable[[], TransportError]) -> None:
        """End the connection without a farewell; callers get the first ``failure``."""
        self._phase = _Phase.CLOSED
        self._fail(failure)

    def _nobody_there(self) -> VerifierUnreachable:
        return failures.nobody_at(f"{self._uri.host}:{self._uri.port}")

    def _forget_in_child(self) -> None:
        """The connection is the parent's: this process only lets go of its own descriptors."""
        self._changed = Condition()  # a thread of the parent may have held the other one
        self._failure, self._phase = failures.forked, _Phase.CLOSED
        tcp = self._connecting if self._stream is None else self._stream.socket
        self._stream = self._connecting = None
        for end in (tcp, *self._wake_ends):
            if end is not None:
                end.close()
