"""Verifiers on loopback that fail in chosen ways, each a function of one connection."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ServerChannel
from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Refusal,
    Verdict,
    Welcome,
    decode_device_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.drafter.scripted import ScriptedDrafter

from tests.doubles.device import accept, welcome_for
from tests.doubles.recording_proxy import BINARY, CLOSE, PING, PONG, parse_frame

__all__ = [
    "BLOCK",
    "DOT",
    "SPACE",
    "TEXTLESS",
    "Fault",
    "FaultyVerifier",
    "Peer",
    "SparseDrafter",
    "framed",
    "honest",
]

BLOCK = 5
"""Tokens in a block."""
TEXTLESS, SPACE, DOT = 398, 397, 396
"""Tokens of :class:`SparseDrafter` without text, and with text that is no word."""
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class SparseDrafter(ScriptedDrafter):
    """Has a token without text beside the end marker, a space, and a full stop."""

    def piece(self, token: int) -> str:
        return {TEXTLESS: "", SPACE: " ", DOT: "."}.get(token, super().piece(token))


class Gone(Exception):
    """The device has closed the connection."""


class Peer:
    """One connection from a device, as the verifier sees it."""

    def __init__(self, stream: socket.socket, key: VerifierKey, welcome: Welcome) -> None:
        self.stream = stream
        self.channel = ServerChannel(key)
        self.welcome = welcome
        self.answers: list[bytes] = []
        """Sealed answers so far."""
        self._unread = b""

    # -- bytes

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def receive(self) -> bytes:
        data = self.stream.recv(65_536)
        if not data:
            raise Gone
        return data

    def drip(self, data: bytes, every_s: float = 0.1) -> None:
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(every_s)

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    def wait(self) -> None:
        """Read in silence until the device has gone."""
        while True:
            self.receive()

    # -- websocket

    def request(self) -> str:
        while b"\r\n\r\n" not in self._unread:
            self._unread += self.receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head.decode()

    def upgraded(self, **headers: str) -> bytes:
        """Return the answer to the upgrade request; ``headers`` override its own."""
        lines = dict(line.split(": ") for line in self.request().split("\r\n")[1:])
        digest = hashlib.sha1((lines["Sec-WebSocket-Key"] + _GUID).encode()).digest()
        answer = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        text = "".join(f"{name}: {value}\r\n" for name, value in answer.items() if value)
        return f"HTTP/1.1 101 Switching Protocols\r\n{text}\r\n".encode()

    def upgrade(self) -> None:
        self.send(self.upgraded())

    def frame(self, *opcodes: int) -> bytes:
        """Return the payload of the next frame with one of the ``opcodes``, or of the next
        message. Pings are answered meanwhile."""
        while True:
            while not (parsed := parse_frame(self._unread)):
                self._unread += self.receive()
            head, masked, payload, size = parsed
            self._unread = self._unread[size:]
            assert masked, "a device masks"
            if head & 0x0F == CLOSE:
                raise Gone
            if head & 0x0F == PING:
                self.send_frame(payload, PONG)
            if head & 0x0F in (opcodes or (BINARY,)):
                return payload

    def send_frame(
        self, payload: bytes, opcode: int = BINARY, *, fin: bool = True, reserved: int = 0
    ) -> None:
        self.send(framed(payload, opcode, fin=fin, reserved=reserved))

    # -- the session

    def greet(self) -> None:
        """Do the handshake as the real server does."""
        self.upgrade()
        self.send_frame(self.channel.receive_hello(self.frame(), encode(self.welcome)))

    def block(self) -> Block:
        message = decode_device_message(self.channel.open(self.frame()))
        assert isinstance(message, Block)
        return message

    def sealed(self, message: Verdict | Refusal | Cover | Welcome | bytes) -> bytes:
        plain = message if isinstance(message, bytes) else encode(message)
        self.answers.append(self.channel.seal(plain, TrafficShape.PADDED))
        return self.answers[-1]

    def answer(self, message: Verdict | Refusal | Cover | Welcome | bytes) -> None:
        self.send_frame(self.sealed(message))


def framed(payload: bytes, opcode: int = BINARY, *, fin: bool = True, reserved: int = 0) -> bytes:
    length, short, size = len(payload), len(payload), b""
    if length > 0xFFFF:
        short, size = 127, struct.pack(">Q", length)
    elif length > 125:
        short, size = 126, struct.pack(">H", length)
    return bytes([fin << 7 | reserved << 4 | opcode, short]) + size + payload


def honest(peer: Peer) -> None:
    """Accept every block."""
    peer.greet()
    while True:
        peer.answer(accept(peer.block()))


@dataclass(frozen=True)
class Fault:
    """A verifier's behaviour, and the expected outcome."""

    name: str
    behave: Callable[[Peer], None]
    """Called with each connection."""
    reason: str | None
    """Why the caption is unverified."""
    sent: int = BLOCK
    """The least number of first tokens of the caption that were sent."""
    verified: int = 0
    """How many of them were accepted."""
    connects: bool = True
    """Whether the test waits for the connection to succeed or fail before it captions."""
    tls: bool = False
    """Whether it is also tested over TLS."""
    only_tls: bool = False


class FaultyVerifier:
    """Listens on loopback and runs ``behave``, until :meth:`heal` is called."""

    def __init__(
        self,
        behave: Callable[[Peer], None],
        key: VerifierKey,
        drafter: ScriptedDrafter,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._behave = behave
        self._key = key
        self._tls = tls
        self._welcome = welcome_for(drafter)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listening = threading.Thread(target=self._accept, daemon=True)
        self._open: list[socket.socket] = []
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> FaultyVerifier:
        self._listening.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listening.join()
        self.drop_all()

    def heal(self) -> None:
        """Be honest on new connections from now on."""
        self._behave = honest
        self.drop_all()

    def drop_all(self) -> None:
        for stream in self._open:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(stream)
            self.connections += 1
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        behave, secured = self._behave, stream
        try:
            if self._tls is not None and not getattr(behave, "below_tls", False):
                secured = self._tls.wrap_socket(stream, server_side=True)
                self._open.append(secured)
            behave(Peer(secured, self._key, self._welcome))
        except (Gone, OSError):
            pass
        finally:
            with suppress(OSError):
                secured.shutdown(socket.SHUT_RDWR)
            secured.close()
            stream.close()
