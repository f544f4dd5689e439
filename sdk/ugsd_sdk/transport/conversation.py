"""The protocol of one websocket connection (RFC 6455), sans-I/O and with limits.

The caller moves bytes and holds the lock of its connection; nothing here waits::

    begin()                                    once, when the socket is connected
    data_to_send()                             after each call that may have produced output
    receive(data), then all of events(count)   when bytes have arrived; b"" is the end
    send(message), ping(payload), unread.popleft()   after the event Upgraded
    end()                                      to close; frames that arrive later are ignored

Limits on the peer are frames of :data:`MAX_FRAME_BYTES`, few unread frames, and, since our last
frame, few other bytes, control frames and fragments; see :class:`Allowance`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI

from ugsd_sdk.errors import TransportError
from ugsd_sdk.transport import MAX_FRAME_BYTES, failures
from ugsd_sdk.transport.allowance import Allowance

__all__ = ["Conversation", "Failed", "Ponged", "Upgraded"]

_SILENT = logging.Logger("ugsd_sdk.transport.connection", logging.CRITICAL + 1)
"""A logger that drops everything: the library would log data of the peer."""
_NORMAL = 1000  # RFC 6455 §7.4.1
_MAX_UNREAD = 4
"""Most received frames that are not read yet."""


@dataclass(frozen=True)
class Upgraded:
    """The peer accepted the upgrade: messages may be sent from now on."""


@dataclass(frozen=True)
class Ponged:
    """The peer sent a pong."""

    payload: bytes


@dataclass(frozen=True)
class Failed:
    """The peer has closed the connection or violated the protocol."""

    make: Callable[[], TransportError]
    """Creates the error that callers get."""
    is_abrupt: bool = False
    """Whether to end the connection without a close frame."""


class Conversation:
    """The client's side of a websocket connection to ``uri``, which messages call ``where``."""

    def __init__(self, uri: WebSocketURI, where: str) -> None:
        self.unread: deque[bytes] = deque()
        """Complete messages that have arrived."""
        self._where = where
        self._protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES, logger=_SILENT)
        self._allowance = Allowance()
        self._parts: list[bytes] = []
        """Received parts of a fragmented message."""
        self._is_upgraded = False
        self._is_over = False

    def begin(self) -> None:
        """Request the upgrade."""
        self._protocol.send_request(self._protocol.connect())

    def send(self, message: bytes) -> None:
        """Send one binary message."""
        self._allowance.renew()
        self._protocol.send_binary(message)

    def ping(self, payload: bytes) -> None:
        """Send a ping. It allows the peer nothing more than its pong."""
        self._protocol.send_ping(payload)

    def end(self) -> None:
        """Send a close frame if the connection is open. May be called again."""
        self._is_over = True
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_NORMAL)

    def data_to_send(self) -> list[bytes]:
        """Return the data to send now."""
        # Empty data would mean a half-close: we close the socket ourselves.
        return [data for data in self._protocol.data_to_send() if data]

    def receive(self, data: bytes) -> None:
        """Process received bytes; ``b""`` is the end. Raises ``EOFError`` for bytes after it."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()

    def events(self, received_bytes: int) -> Iterator[Upgraded | Ponged | Failed]:
        """Yield the events of all received data in order; ``received_bytes`` is its size on the
        socket. The caller handles each event before it requests the next one."""
        extra_frames = 0
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):  # the answer to the upgrade
                continue
            if event.opcode in {Opcode.BINARY, Opcode.CONT}:
                extra_frames += not event.fin
                yield from self._take(event)
            elif event.opcode is Opcode.TEXT:
                yield Failed(failures.sent_text)
            elif event.opcode in {Opcode.PING, Opcode.PONG}:
                extra_frames += 1
                if event.opcode is Opcode.PONG:
                    yield Ponged(bytes(event.data))
        yield from self._state_events()
        if not self._allowance.allows(frames=extra_frames, received_bytes=received_bytes):
            flooded = failures.flooded if self._is_upgraded else self.nobody_there
            yield Failed(flooded, is_abrupt=True)

    def nobody_there(self) -> TransportError:
        """Return the error for a peer that never answered like a verifier."""
        return failures.nobody_at(self._where)

    def _take(self, frame: Frame) -> Iterator[Failed]:
        self._parts.append(bytes(frame.data))
        if not frame.fin or self._is_over:
            return
        self.unread.append(b"".join(self._parts))
        self._parts.clear()
        if len(self.unread) > _MAX_UNREAD:
            yield Failed(failures.flooded)

    def _state_events(self) -> Iterator[Upgraded | Failed]:
        """Yield the events that follow from the protocol's state."""
        protocol = self._protocol
        if not self._is_upgraded:
            if protocol.handshake_exc is not None:
                yield Failed(self.nobody_there, is_abrupt=True)
            elif protocol.state is not State.CONNECTING:
                self._is_upgraded = True
                yield Upgraded()
        if protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            yield Failed(failures.broke_protocol)
        elif protocol.close_rcvd is not None:
            code = protocol.close_rcvd.code
            yield Failed(lambda: failures.closed_there(code))
        elif protocol.parser_exc is not None:
            yield Failed(failures.lost)
