"""Law 1, from outside: a recording proxy sees every byte that leaves and asks the log about it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_privacy.audit.records import EgressRecord, Leaf, decode_record
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.channel import CONSTANT_FRAME_BYTES, FRAME_BYTES, HELLO_BYTES
from ugsd_privacy.keys import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.wire import Block, Cover, decode_device_message
from websockets.sync.client import connect

Voice = NDArray[np.float32]
DEVICE = Path(__file__).with_name("watched_device.py")
USER = "ada-canary-lovelace"
CLIP = "canary-of-a-file-name.wav"
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA  # RFC 6455 §5.2
OUR_PING = b"are you there"
KILLS = [
    (point, passage)
    for point in ("before_commit", "before_send", "after_send")
    for passage in (1, 3)  # the hello, and the second block
]


@dataclass(frozen=True)
class Seen:
    """A websocket frame from the device, unmasked."""

    head: int
    """First byte: FIN, three reserved bits, opcode."""
    masked: bool
    payload: bytes
    record: EgressRecord | None
    """What the log said of it before it was passed on."""

    @property
    def opcode(self) -> int:
        return self.head & 0x0F


@dataclass
class Conversation:
    """One connection, as the proxy saw the device's side of it."""

    raw: bytearray = field(default_factory=bytearray)
    request: bytes = b""
    """The HTTP upgrade request, its blank line included."""
    frames: list[Seen] = field(default_factory=list)
    unread: bytearray = field(default_factory=bytearray)
    """Bytes that are no whole request or frame yet."""
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
            self.frames.append(Seen(head, masked, payload, look_up(payload)))
            del self.unread[:size]

    def of(self, *opcodes: int) -> list[Seen]:
        return [frame for frame in self.frames if frame.opcode in opcodes]

    def answer_sizes(self) -> list[int]:
        """Of the server's binary frames."""
        rest, sizes = bytes(self.answers).partition(b"\r\n\r\n")[2], []
        while parsed := parse_frame(rest):
            head, _, payload, size = parsed
            sizes += [len(payload)] if head == 0x80 | BINARY else []
            rest = rest[size:]
        return sizes


def parse_frame(data: bytes) -> tuple[int, bool, bytes, int] | None:
    """First byte, masked or not, payload and size of a frame, if it is whole (RFC 6455 §5.2)."""
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


class RecordingProxy:
    """Passes bytes on between devices and ``target``; asks ``look_up`` about each frame first.

    Behind the server's first bytes, its answer to the upgrade, it puts a ping of its own.
    """

    def __init__(self, target: str, look_up: Callable[[bytes], EgressRecord | None]) -> None:
        host, port = target.removeprefix("ws://").split(":")
        self._target = (host, int(port))
        self._look_up = look_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.conversations: list[Conversation] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> RecordingProxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def finished(self) -> list[Conversation]:
        """The conversations so far, once each is over."""
        assert all(conversation.over.wait(10) for conversation in self.conversations)
        return self.conversations

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            conversation = Conversation()
            self.conversations.append(conversation)
            down = threading.Thread(target=self._pass_down, args=(server, device, conversation))
            up = threading.Thread(target=self._pass_up, args=(device, server, conversation, down))
            self._threads += [up, down]
            up.start()
            down.start()

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
        ping = bytes([0x80 | PING, len(OUR_PING)]) + OUR_PING
        with suppress(OSError):
            while data := receive(server):
                conversation.answers += data
                device.sendall(data + ping)
                ping = b""
            device.shutdown(socket.SHUT_WR)


def receive(peer: socket.socket) -> bytes:
    """Bytes, or none where the peer is gone: a killed one resets the connection."""
    try:
        return peer.recv(65_536)
    except ConnectionError:
        return b""


@dataclass
class World:
    """A home, a clip, and a proxy before the real server."""

    home: Path
    clip: Path
    key: str
    proxy: RecordingProxy
    messages: list[bytes]
    """What the server read inside the frames."""

    def run(
        self,
        *,
        captions: int,
        kill: tuple[str, int] | None = None,
        shape: str = "padded",
        doubtful: Sequence[int | None] = (0,),
    ) -> dict[str, Any] | None:
        """Run the device; its report, or ``None`` where it was killed as planned."""
        task = {"url": self.proxy.url, "key": self.key, "home": str(self.home), "user": USER}
        task |= {"clip": str(self.clip), "captions": captions, "kill": kill}  # type: ignore[dict-item]
        task |= {"shape": shape, "doubtful": list(doubtful)}  # type: ignore[dict-item]
        aside = self.home.parent / "aside"
        aside.mkdir(exist_ok=True)
        places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(aside))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-B", str(DEVICE), json.dumps(task)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=aside,
            env={**os.environ, **places},
            check=False,
        )
        assert not list(aside.iterdir()), "something was written outside home"
        if kill:
            assert (done.returncode, done.stdout) == (-9, ""), done.stderr
            return None
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def verified_records(self) -> list[EgressRecord]:
        """All of the log, after it was verified."""
        with Ledger(self.home / "ledger") as ledger, ledger.reading() as view:
            verify_log(ledger, LogKey.load(self.home / "log.key").public)
            return [decode_record(row.body) for row in view.rows()]


def look_up(ledger: Path, payload: bytes) -> EgressRecord | None:
    """The record of a frame with these bytes, if its leaf and charge are committed by now.

    Reads the file on a connection of its own: it sees only what is committed.
    """
    if not ledger.exists():
        return None
    found, digest = None, hashlib.sha256(payload).digest()
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT content, salt, body, bytes FROM leaves JOIN charges USING (leaf)")
        for content, salt, body, charged in rows:
            record = decode_record(body)
            assert Leaf.of(record, salt).to_bytes() == content
            if (record.frame_sha256, record.frame_bytes, charged) == (digest, *[len(payload)] * 2):
                found = record
    return found


@pytest.fixture
def world(
    run_server: Any, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    messages: list[bytes] = []

    def noted(message: bytes) -> Block | Cover:
        messages.append(message)
        return decode_device_message(message)

    monkeypatch.setattr("ugsd_server.session.decode_device_message", noted)
    soundfile.write(tmp_path / CLIP, voice, 16_000, subtype="FLOAT")
    server = run_server(rank=400)  # accepts everything, so that every block is sent
    home = tmp_path / "canary-home"
    with ExitStack() as stack:
        proxy = stack.enter_context(
            RecordingProxy(server.url, lambda sent: look_up(home / "ledger/ledger.sqlite3", sent))
        )
        yield World(home, tmp_path / CLIP, server.public_key, proxy, messages)


def assert_all_is_accounted_for(conversation: Conversation, port: int) -> None:
    """Every byte is part of the constant request, of a logged frame, or of a control frame."""
    lines = conversation.request.decode("ascii").split("\r\n")
    key = re.fullmatch("Sec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)", lines[4])
    assert key is not None
    assert len(base64.b64decode(key[1])) == 16
    assert lines == [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        key[0],
        "Sec-WebSocket-Version: 13",
        "",
        "",
    ]
    assert not conversation.unread
    assert all(frame.masked for frame in conversation.frames)
    whole = {0x80 | opcode for opcode in (BINARY, CLOSE, PONG)}
    assert {frame.head for frame in conversation.frames} <= whole, "text, a part, or a ping"
    application = conversation.of(BINARY)
    unlogged = [len(frame.payload) for frame in application if frame.record is None]
    assert unlogged == [], "bytes left that were not in the log before"
    sizes = [len(frame.payload) for frame in application]
    assert sizes[:1] in ([], [HELLO_BYTES])
    assert set(sizes[1:]) <= set(FRAME_BYTES)
    assert {frame.payload for frame in conversation.of(PONG)} <= {OUR_PING}
    assert [frame.payload for frame in conversation.of(CLOSE)] in ([], [(1000).to_bytes(2, "big")])


def canaries(world: World, voice: Voice) -> Iterator[bytes]:
    """What must never leave, in the forms in which it might."""
    for text in (USER, CLIP, str(world.home), str(world.clip), "canary"):
        yield from (text.encode(), base64.b64encode(text.encode()).rstrip(b"="))
    audible = np.flatnonzero(np.abs(voice) > 0.01)
    waveforms = [(voice * 32_767).astype(np.int16), voice, voice.astype(np.float64)]
    for start in audible[:: len(audible) // 200]:
        for waveform in waveforms:
            yield waveform[start : start + 4].tobytes()


def test_every_byte_that_captioning_sends_was_in_the_log_before(world: World, voice: Voice) -> None:
    for _ in range(2):
        report = world.run(captions=3)
        assert report is not None
        assert report["degraded"] == [None] * 3
        assert report["stopped"] == []
        assert report["connected"] == [["127.0.0.1", world.proxy.port]]
        assert report["stopped_on_purpose"] == [
            "socket.connect",
            "socket.sendto",
            "subprocess.Popen",
            "open",
            "os.mkdir",
        ], "the guard lets things through"
    conversations, records = world.proxy.finished(), world.verified_records()
    sent = [frame for conversation in conversations for frame in conversation.of(BINARY)]
    for conversation in conversations:
        assert_all_is_accounted_for(conversation, world.proxy.port)
        assert len(conversation.of(PONG)) == len(conversation.of(CLOSE)) == 1
    assert [frame.record for frame in sent] == records, "each record once, in order, none besides"
    assert [record.kind for record in records] == (["hello"] + ["block"] * 15) * 2
    assert sum(len(frame.payload) for frame in sent) == sum(r.frame_bytes for r in records)
    blocks = [decode_device_message(message) for message in world.messages]
    carried = ("caption", "keep", "prefix", "tokens", "state_positions", "state_dim")
    assert [[getattr(block, name) for name in carried] for block in blocks] == [
        [getattr(record, name) for name in carried] for record in records if record.kind == "block"
    ], "what the server reads is what the owner reads in the log"
    left = b"".join(bytes(conversation.raw) for conversation in conversations)
    for secret in canaries(world, voice):
        assert secret not in left + b"".join(world.messages)


def test_a_killed_device_sent_nothing_that_its_log_lacks(world: World) -> None:
    for point, passage in KILLS:
        before = len(world.verified_records()) if world.home.exists() else 0
        seen = sum(len(conversation.of(BINARY)) for conversation in world.proxy.finished())
        world.run(captions=1, kill=(point, passage))
        for conversation in world.proxy.finished():
            assert_all_is_accounted_for(conversation, world.proxy.port)
        logged = len(world.verified_records()) - before
        sent = sum(len(conversation.of(BINARY)) for conversation in world.proxy.finished()) - seen
        assert logged == passage - (point == "before_commit"), (point, passage)
        assert sent == passage - (point != "after_send"), (point, passage)
    report = world.run(captions=1)
    assert report is not None
    assert report["degraded"] == [None], "the log goes on after every crash"


LAST_BLOCK = 20
DOUBTS: list[list[int | None]] = [[None], [0], [LAST_BLOCK], [None, 10, 0], [5, None]]
"""For each caption of a run: the position of its first doubtful block, or none."""


def test_in_constant_shape_captions_look_alike_whether_or_not_they_escalate(world: World) -> None:
    kinds = []
    for doubtful in DOUBTS:
        report = world.run(captions=3, shape="constant", doubtful=doubtful)
        assert report is not None
        firsts = [doubtful[i % len(doubtful)] for i in range(3)]
        assert report["degraded"] == [
            None if first in {None, LAST_BLOCK} else "constant shape" for first in firsts
        ]
        kinds += ["hello"] + ["cover" if first is None else "block" for first in firsts]
    looks = []
    for conversation in world.proxy.finished():
        assert_all_is_accounted_for(conversation, world.proxy.port)
        sizes = [len(frame.payload) for frame in conversation.of(BINARY)]
        looks.append((sizes, conversation.answer_sizes()))
    sent, answered = looks[0]
    assert looks == [looks[0]] * len(DOUBTS), "a network sees no difference"
    assert sent == [HELLO_BYTES] + [CONSTANT_FRAME_BYTES] * 3
    assert answered[1:] == [CONSTANT_FRAME_BYTES] * 3
    records = world.verified_records()
    assert [record.kind for record in records] == kinds
    assert all(not record.tokens for record in records if record.kind == "cover")


@pytest.mark.parametrize("point", ["before_commit", "before_send", "after_send"])
def test_a_device_killed_at_a_cover_sent_nothing_that_its_log_lacks(
    world: World, point: str
) -> None:
    world.run(captions=2, kill=(point, 3), shape="constant", doubtful=[0, None])
    (conversation,) = world.proxy.finished()
    assert_all_is_accounted_for(conversation, world.proxy.port)
    kinds = [record.kind for record in world.verified_records()]
    assert kinds == ["hello", "block", "cover"][: 3 - (point == "before_commit")]
    assert len(conversation.of(BINARY)) == 3 - (point != "after_send")
    report = world.run(captions=1, shape="constant", doubtful=[None])
    assert report is not None
    assert report["degraded"] == [None], "the log goes on after every crash"


def test_the_proxy_would_see_an_unlogged_byte(world: World) -> None:
    with connect(world.proxy.url, compression=None, proxy=None) as connection:
        connection.send(b"a voice")
        connection.send("a name")
    conversation = world.proxy.finished()[0]
    assert [frame.record for frame in conversation.of(BINARY, 0x1)] == [None, None]
    assert b"User-Agent" in conversation.request
    with pytest.raises(AssertionError):
        assert_all_is_accounted_for(conversation, world.proxy.port)
