"""A loopback proxy that records every byte that a device sends, and looks each frame up in the log
before it relays it."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import LedgerView

from tests.doubles.listener import Listener

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "PROXY_PING",
    "Conversation",
    "RecordedFrame",
    "RecordingProxy",
    "look_up",
]

BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA  # RFC 6455 §5.2
PROXY_PING = b"are you there"


@dataclass(frozen=True)
class RecordedFrame:
    """A websocket frame from the device, unmasked."""

    head: int
    """First byte: FIN, three reserved bits, opcode."""
    masked: bool
    payload: bytes
    record: EgressRecord | None
    """The log's record of it before it was relayed."""

    @property
    def opcode(self) -> int:
        return self.head & 0x0F


@dataclass
class Conversation:
    """One connection, as the proxy saw the device's side of it."""

    raw: bytearray = field(default_factory=bytearray)
    request: bytes = b""
    """The HTTP upgrade request, including its blank line."""
    frames: list[RecordedFrame] = field(default_factory=list)
    unread: bytearray = field(default_factory=bytearray)
    """Bytes of an incomplete request or frame."""
    answers: bytearray = field(default_factory=bytearray)
    """What the server sent."""
    over: threading.Event = field(default_factory=threading.Event)

    def take(self, data: bytes, look_up: Callable[[bytes], EgressRecord | None]) -> None:
        self.raw += data
        self.unread += data
        if not self.request and b"\r\n\r\n" in self.unread:
            end = self.unread.index(b"\r\n\r\n") + 4
            self.request = bytes(self.unread[:end])
            del self.unread[:end]
        while self.request and (parsed := parse_frame(bytes(self.unread))):
            head, masked, payload, size = parsed
            is_control = bool(head & CLOSE)
            record = None if is_control else look_up(payload)
            self.frames.append(RecordedFrame(head, masked, payload, record))
            del self.unread[:size]

    def of(self, *opcodes: int) -> list[RecordedFrame]:
        return [frame for frame in self.frames if frame.opcode in opcodes]

    def answer_sizes(self) -> list[int]:
        """Return the sizes of the server's binary frames."""
        rest, sizes = bytes(self.answers).partition(b"\r\n\r\n")[2], []
        while parsed := parse_frame(rest):
            head, _, payload, size = parsed
            sizes += [len(payload)] if head == 0x80 | BINARY else []
            rest = rest[size:]
        return sizes


def parse_frame(data: bytes) -> tuple[int, bool, bytes, int] | None:
    """Return first byte, whether it is masked, payload and size of a frame, if it is complete (RFC
    6455 §5.2)."""
    if len(data) < 2:
        return None
    masked, length, at = bool(data[1] & 0x80), data[1] & 0x7F, 2
    if length > 125:
        width = 2 if length == 126 else 8
        length, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
    key = data[at : at + 4] if masked else bytes(4)
    at += 4 * masked
    if len(data) < at + length:
        return None
    payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(data[at : at + length]))
    return data[0], masked, payload, at + length


class RecordingProxy(Listener):
    """Relays bytes between devices and ``target``, and calls ``look_up`` on each frame first.

    After the server's first bytes, its answer to the upgrade, it inserts a ping of its own.
    """

    def __init__(self, target: str, look_up: Callable[[bytes], EgressRecord | None]) -> None:
        super().__init__()
        host, port = target.removeprefix("ws://").split(":")
        self._target = (host, int(port))
        self._look_up = look_up
        self.conversations: list[Conversation] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def finished(self) -> list[Conversation]:
        """Return the conversations so far, once each is over."""
        assert all(conversation.over.wait(30) for conversation in self.conversations)
        return self.conversations

    def serve(self, device: socket.socket) -> list[threading.Thread]:
        server = socket.create_connection(self._target)
        conversation = Conversation()
        self.conversations.append(conversation)
        down = threading.Thread(target=self._pass_down, args=(server, device, conversation))
        up = threading.Thread(target=self._pass_up, args=(device, server, conversation, down))
        return [down, up]  # the second waits for the first

    def _pass_up(
        self,
        device: socket.socket,
        server: socket.socket,
        conversation: Conversation,
        down: threading.Thread,
    ) -> None:
        with device, server, suppress(OSError):
            while data := receive(device):
                conversation.take(data, self._look_up)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            down.join()
        conversation.over.set()

    @staticmethod
    def _pass_down(
        server: socket.socket, device: socket.socket, conversation: Conversation
    ) -> None:
        ping = bytes([0x80 | PING, len(PROXY_PING)]) + PROXY_PING
        with suppress(OSError):
            while data := receive(server):
                conversation.answers += data
                device.sendall(data + ping)
                ping = b""
            device.shutdown(socket.SHUT_WR)


def receive(peer: socket.socket) -> bytes:
    """Return bytes, or none if the peer is gone: a killed peer resets the connection."""
    try:
        return peer.recv(65_536)
    except ConnectionError:
        return b""


def look_up(ledger: Path, payload: bytes) -> EgressRecord | None:
    """Return the record of a frame with these bytes, if its leaf and charge are committed by now.

    It reads the file through its own connection, which sees only what is committed. The connection
    is writable, because reading after a device was killed includes repairing its shared memory.
    """
    if not ledger.exists():
        return None
    found, digest = None, hashlib.sha256(payload).digest()
    with closing(sqlite3.connect(f"file:{ledger}?mode=rw", uri=True)) as db:
        view = LedgerView(db)
        rows = list(view.rows())
        owner = OwnerKey.load(ledger.parents[1] / "owner.key") if rows else None
        reader = BodyReader(view, owner)
        for row in rows:
            record = reader.record(row)
            assert isinstance(record, EgressRecord)
            if (record.frame_sha256, record.frame_bytes, row.bytes) == (
                digest,
                *[len(payload)] * 2,
            ):
                found = record
    return found
