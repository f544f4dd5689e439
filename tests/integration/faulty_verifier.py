"""Verifiers on loopback that fail in chosen ways, each a function of one connection.

:data:`FAULTS` is the table: what a verifier does, and what must come of it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ugsd_privacy.channel import ServerChannel, Shape
from ugsd_privacy.keys import VerifierKey
from ugsd_privacy.wire import (
    WIRE_VERSION,
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    decode_device_message,
    encode,
)
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter

from tests.integration.recording_proxy import BINARY, CLOSE, PING, PONG, parse_frame

__all__ = ["FAULTS", "TEXTLESS", "WITHOUT_CONNECTION", "Fault", "FaultyVerifier", "SparseDrafter"]

CONT, TEXT, UNKNOWN = 0x0, 0x1, 0x3  # RFC 6455 section 5.2; 0x3 is reserved
BLOCK = 5
"""Tokens of a block."""
TEXTLESS, SPACE = 398, 397
"""Tokens of :class:`SparseDrafter` without text, and with text that cannot be seen."""
LATE_S = 0.6
"""Later than the deadline of a caption in the tests."""
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class SparseDrafter(ScriptedDrafter):
    """Has a token without text beside the end marker, and one that is only a space."""

    def piece(self, token: int) -> str:
        return {TEXTLESS: "", SPACE: " "}.get(token, super().piece(token))


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
        """End the connection without a word (RST)."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    def wait(self) -> None:
        """Read, and say nothing, until the device has gone."""
        while True:
            self.receive()

    # -- websocket

    def request(self) -> str:
        while b"\r\n\r\n" not in self._unread:
            self._unread += self.receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head.decode()

    def upgraded(self, **headers: str) -> bytes:
        """The answer to the upgrade request; ``headers`` replace its own."""
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
        """The payload of the next frame with one of the ``opcodes``, else of the next message."""
        while True:
            while not (parsed := parse_frame(self._unread)):
                self._unread += self.receive()
            head, masked, payload, size = parsed
            self._unread = self._unread[size:]
            assert masked, "a device masks"
            if head & 0x0F == CLOSE:
                raise Gone
            if head & 0x0F in (opcodes or (BINARY,)):
                return payload

    def send_frame(
        self, payload: bytes, opcode: int = BINARY, *, fin: bool = True, reserved: int = 0
    ) -> None:
        self.send(framed(payload, opcode, fin=fin, reserved=reserved))

    # -- the session

    def greet(self) -> None:
        """Shake hands as the real server does."""
        self.upgrade()
        self.send_frame(self.channel.receive_hello(self.frame(), encode(self.welcome)))

    def block(self) -> Block:
        message = decode_device_message(self.channel.open(self.frame()))
        assert isinstance(message, Block)
        return message

    def sealed(self, message: Verdict | Refusal | Cover | Welcome | bytes) -> bytes:
        plain = message if isinstance(message, bytes) else encode(message)
        self.answers.append(self.channel.seal(plain, Shape.PADDED))
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


def accepted(block: Block, **changes: Any) -> Verdict:
    given: dict[str, Any] = {
        "caption": block.caption,
        "start": block.start,
        "accepted": len(block.tokens),
        "correction": None,
        "continuation": (),
    }
    return Verdict(**(given | changes))


def honest(peer: Peer) -> None:
    """Accept every block."""
    peer.greet()
    while True:
        peer.answer(accepted(peer.block()))


@dataclass(frozen=True)
class Fault:
    """What a verifier does, and what must come of it."""

    name: str
    behave: Callable[[Peer], None]
    """Called with each connection."""
    reason: str | None
    """Why the caption is unverified."""
    sent: int = BLOCK
    """So many first tokens of the caption were sent, at least."""
    verified: int = 0
    """So many of them were accepted."""
    connects: bool = True
    """Whether the test waits until connecting has succeeded or failed, before it captions."""
    tls: bool = False
    """Whether it is tried over TLS too."""
    only_tls: bool = False


class FaultyVerifier:
    """Listens on loopback and behaves as ``behave`` says, until it is :meth:`healed`."""

    def __init__(
        self,
        behave: Callable[[Peer], None],
        key: VerifierKey,
        drafter: ScriptedDrafter,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        info = drafter.info
        self._behave = behave
        self._key = key
        self._tls = tls
        self._welcome = Welcome(
            version=WIRE_VERSION,
            vocabulary=info.vocabulary,
            projection=info.projection,
            state_dim=info.state_dim,
            max_tokens=info.max_tokens,
        )
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
        """Be honest from now on, with new connections."""
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


def below_tls(behave: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Mark one that speaks in the place of TLS."""
    behave.below_tls = True  # type: ignore[attr-defined]
    return behave


# -- before there is a session


def says_nothing(peer: Peer) -> None:
    peer.wait()


@below_tls
def says_nothing_at_all(peer: Peer) -> None:
    peer.wait()


def closes_at_once(peer: Peer) -> None:
    return


def resets_at_once(peer: Peer) -> None:
    peer.reset()


def answers_http(status: str, more: bytes = b"Content-Length: 0\r\n\r\n") -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(f"HTTP/1.1 {status}\r\n".encode() + more)
        peer.wait()

    return behave


def sends_headers_for_ever(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        peer.send(b"X-More: of the same\r\n")


def sends_a_page_for_ever(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 404 Not Found\r\n\r\n")
    while True:
        peer.send(bytes(4096))


def upgrades_with(**headers: str) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.send(peer.upgraded(**headers))
        peer.wait()

    return behave


def drips_the_upgrade(peer: Peer) -> None:
    peer.drip(peer.upgraded())
    peer.wait()


@below_tls
def speaks_http_in_the_place_of_tls(peer: Peer) -> None:
    peer.receive()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.wait()


@below_tls
def stalls_within_the_tls_handshake(peer: Peer) -> None:
    peer.receive()
    peer.send(b"\x16\x03\x03\x40\x00\x02")  # a handshake record of 16 KiB begins
    peer.wait()


@below_tls
def drips_the_tls_handshake(peer: Peer) -> None:
    peer.receive()
    peer.drip(b"\x16\x03\x03\x40\x00\x02" + bytes(100))


def is_silent_after_the_upgrade(peer: Peer) -> None:
    peer.upgrade()
    peer.wait()


def pings_in_the_place_of_a_welcome(peer: Peer) -> None:
    peer.upgrade()
    floods(peer, framed(b"", PING))


def welcomes_with(answer: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.frame()
        answer(peer)
        peer.wait()

    return behave


def welcomes_late(peer: Peer) -> None:
    peer.upgrade()
    hello = peer.frame()
    time.sleep(LATE_S)
    peer.send_frame(peer.channel.receive_hello(hello, encode(peer.welcome)))
    while True:
        peer.answer(accepted(peer.block()))


def welcomes_as(message: Callable[[Welcome], Any]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.upgrade()
        answer = encode(message(peer.welcome))
        peer.send_frame(peer.channel.receive_hello(peer.frame(), answer))
        peer.wait()

    return behave


# -- after a block


def floods(peer: Peer, frame: bytes) -> None:
    """Send the frame as fast as it goes, and read nothing."""
    many = frame * 100
    while True:
        peer.send(many)


def then(act: Callable[[Peer, Block], None]) -> Callable[[Peer], None]:
    """Greet, read a block, act, and read on in silence."""

    def behave(peer: Peer) -> None:
        peer.greet()
        act(peer, peer.block())
        peer.wait()

    return behave


def then_sends(data: bytes) -> Callable[[Peer], None]:
    return then(lambda peer, block: peer.send(data))


def then_floods(frame: bytes) -> Callable[[Peer], None]:
    return then(lambda peer, block: floods(peer, frame))


def then_answers(answer: Callable[[Block], Any]) -> Callable[[Peer], None]:
    return then(lambda peer, block: peer.answer(answer(block)))


def then_says(**changes: Any) -> Callable[[Peer], None]:
    """Answer with a verdict that accepts the block but for the ``changes``."""
    return then_answers(lambda block: accepted(block, **changes))


def stops_reading(peer: Peer) -> None:
    peer.greet()
    threading.Event().wait(20)


def pings_for_ever_and_reads(peer: Peer) -> None:
    peer.greet()
    peer.block()
    peer.stream.settimeout(10)
    while True:
        peer.send_frame(b"", PING)
        peer.frame(PONG)


def pings_now_and_then(peer: Peer) -> None:
    peer.greet()
    while True:
        block = peer.block()
        for number in range(8):
            peer.send_frame(bytes([number]), PING)
        peer.send_frame(b"unasked", PONG)
        for number in range(8):
            assert peer.frame(PONG) == bytes([number])
        peer.answer(accepted(block))


def drips_the_verdict(peer: Peer, block: Block) -> None:
    peer.drip(framed(peer.sealed(accepted(block))))


def answers_in_fragments(peer: Peer) -> None:
    peer.greet()
    while True:
        answer = peer.sealed(accepted(peer.block()))
        peer.send_frame(answer[:50], fin=False)
        peer.send_frame(b"between", PING)
        peer.send_frame(b"", CONT, fin=False)
        peer.send_frame(answer[50:], CONT)


def ends_no_message(peer: Peer, block: Block) -> None:
    peer.send_frame(peer.sealed(accepted(block)), fin=False)


def masks(peer: Peer, block: Block) -> None:
    payload = peer.sealed(accepted(block))
    peer.send(bytes([0x80 | BINARY, 0x80 | 126]) + struct.pack(">H", len(payload)) + bytes(4))
    peer.send(payload)


def sends_reserved_bits(peer: Peer, block: Block) -> None:
    peer.send_frame(peer.sealed(accepted(block)), reserved=4)


def replays_its_answer(peer: Peer) -> None:
    peer.greet()
    peer.answer(accepted(peer.block()))
    peer.block()
    peer.send_frame(peer.answers[0])
    peer.wait()


def answers_twice(peer: Peer) -> None:
    peer.greet()
    block = peer.block()
    peer.send(framed(peer.sealed(accepted(block))) + framed(peer.sealed(accepted(block))))
    peer.wait()


def reflects_the_block(peer: Peer) -> None:
    peer.greet()
    peer.send_frame(peer.frame())
    peer.wait()


def answers_late(peer: Peer) -> None:
    peer.greet()
    block = peer.block()
    time.sleep(LATE_S)
    peer.answer(accepted(block))
    while True:
        peer.answer(accepted(peer.block()))


def closes_after_one_verdict(peer: Peer) -> None:
    peer.greet()
    peer.answer(accepted(peer.block()))


def sends_garbage_below_tls(peer: Peer, block: Block) -> None:
    os.write(peer.stream.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))


def closes_with(payload: bytes) -> Callable[[Peer], None]:
    return then_sends(framed(payload, CLOSE))


def code(number: int, why: bytes = b"") -> bytes:
    return struct.pack(">H", number) + why


UNREACHABLE, MISBEHAVED, DEADLINE = "verifier unreachable", "verifier misbehaved", "deadline"
NO_TLS = "tls failed"
WITHOUT_CONNECTION = Fault("refuses connections", honest, UNREACHABLE, sent=0)


def _before_a_session() -> Iterator[Fault]:
    slow = Fault("", honest, UNREACHABLE, sent=0, connects=False)
    quick = Fault("", honest, UNREACHABLE, sent=0)
    for name, behave in {
        "says nothing": says_nothing,
        "drips the answer to the upgrade": drips_the_upgrade,
        "is silent after the upgrade": is_silent_after_the_upgrade,
        "welcomes after the deadline": welcomes_late,
    }.items():
        yield replace(slow, name=name, behave=behave, tls=True)
    for name, behave in {
        "says nothing in the place of TLS": says_nothing_at_all,
        "stalls within the TLS handshake": stalls_within_the_tls_handshake,
        "drips the TLS handshake": drips_the_tls_handshake,
    }.items():
        yield replace(slow, name=name, behave=behave, only_tls=True)
    for name, behave in {
        "closes at once": closes_at_once,
        "resets at once": resets_at_once,
        "has no such page": answers_http("404 Not Found"),
        "fails": answers_http("500 Internal Server Error"),
        "redirects": answers_http(
            "301 Moved", b"Location: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        ),
        "speaks no HTTP": answers_http("\0" * 100),
        "sends headers for ever": sends_headers_for_ever,
        "sends a page for ever": sends_a_page_for_ever,
        "proves no knowledge of the key": upgrades_with(Sec_WebSocket_Accept="AAAA"),
        "upgrades to something else": upgrades_with(Upgrade="h2c"),
        "compresses unasked": upgrades_with(Sec_WebSocket_Extensions="permessage-deflate"),
    }.items():
        yield replace(quick, name=name, behave=behave)
    yield replace(
        quick,
        name="speaks HTTP in the place of TLS",
        behave=speaks_http_in_the_place_of_tls,
        reason=NO_TLS,
        only_tls=True,
    )
    for name, behave, reason in [
        ("pings in the place of a welcome", pings_in_the_place_of_a_welcome, MISBEHAVED),
        (
            "welcomes with garbage",
            welcomes_with(lambda peer: peer.send_frame(b"\2\0" + bytes(1300))),
            MISBEHAVED,
        ),
        (
            "welcomes with text",
            welcomes_with(lambda peer: peer.send_frame(b"hello, device", TEXT)),
            MISBEHAVED,
        ),
        (
            "welcomes with half a MiB",
            welcomes_with(lambda peer: peer.send_frame(bytes(2**19))),
            MISBEHAVED,
        ),
        (
            "cannot read the hello",
            welcomes_with(lambda peer: peer.send_frame(code(1008), CLOSE)),
            "wrong verifier key",
        ),
        (
            "has another vocabulary",
            welcomes_as(lambda own: own.model_copy(update={"vocabulary": bytes(32)})),
            "verifier of another vocabulary",
        ),
        ("welcomes with a cover", welcomes_as(lambda own: Cover()), MISBEHAVED),
    ]:
        yield replace(quick, name=name, behave=behave, reason=reason)


def _after_a_block() -> Iterator[Fault]:
    for name, behave, reason in [
        ("is silent after the block", then(lambda peer, block: None), DEADLINE),
        ("stops reading", stops_reading, DEADLINE),
        ("pings for ever and reads nothing", then_floods(framed(b"", PING)), MISBEHAVED),
        ("pings at length for ever", then_floods(framed(bytes(125), PING)), MISBEHAVED),
        ("pings for ever and reads", pings_for_ever_and_reads, MISBEHAVED),
        ("drips the verdict", then(drips_the_verdict), DEADLINE),
        ("sends fragments for ever", then_floods(framed(b"", CONT, fin=False)), MISBEHAVED),
    ]:
        yield Fault(name, behave, reason, tls=True)
    for name, behave, reason in [
        ("pongs unasked for ever", then_floods(framed(b"", PONG)), MISBEHAVED),
        ("ends no message", then(ends_no_message), DEADLINE),
        ("sends empty frames for ever", then_floods(framed(b"")), MISBEHAVED),
        ("sends one empty frame", then_sends(framed(b"")), MISBEHAVED),
        ("sends text", then_sends(framed(b"accepted", TEXT)), MISBEHAVED),
        ("masks", then(masks), MISBEHAVED),
        ("sets reserved bits", then(sends_reserved_bits), MISBEHAVED),
        ("sends an unknown opcode", then_sends(framed(b"", UNKNOWN)), MISBEHAVED),
        ("announces 2^62 bytes", then_sends(b"\x82\x7f" + struct.pack(">Q", 2**62)), MISBEHAVED),
        ("pings with 126 bytes", then_sends(framed(bytes(126), PING)), MISBEHAVED),
        ("pings in fragments", then_sends(framed(b"", PING, fin=False)), MISBEHAVED),
        ("resets", then(lambda peer, block: peer.reset()), UNREACHABLE),
        ("ends the stream", lambda peer: (peer.greet(), peer.block(), None)[2], UNREACHABLE),
        *((f"closes with {n}", closes_with(code(n)), UNREACHABLE) for n in (1000, 1001, 1011)),
        ("closes with 1008 and why", closes_with(code(1008, b"no")), UNREACHABLE),
        ("closes with a private code", closes_with(code(4999)), UNREACHABLE),
        ("closes without a code", closes_with(b""), UNREACHABLE),
        ("closes with half a code", closes_with(b"\3"), MISBEHAVED),
        ("closes with a code that is none", closes_with(code(999)), MISBEHAVED),
        ("closes with bytes that are no text", closes_with(code(1000, b"\xff")), MISBEHAVED),
        ("answers with garbage", then_sends(framed(bytes(128))), MISBEHAVED),
        ("seals garbage", then_answers(lambda block: b"\xa1\x64kind\x67verdict"), MISBEHAVED),
        ("reflects the block", reflects_the_block, MISBEHAVED),
        ("answers after the deadline", answers_late, DEADLINE),
        ("welcomes again", then(lambda peer, block: peer.answer(peer.welcome)), MISBEHAVED),
        ("answers with a cover", then_answers(lambda block: Cover()), MISBEHAVED),
        *(
            (
                f"refuses: {why}",
                then_answers(lambda block, why=why: Refusal(code=why)),  # type: ignore[misc]
                f"verifier refused: {why}",
            )
            for why in RefusalCode
        ),
    ]:
        yield Fault(name, behave, reason)
    yield Fault(
        "sends garbage below TLS", then(sends_garbage_below_tls), UNREACHABLE, only_tls=True
    )
    for name, changes in {
        "judges another caption": {"caption": 7},
        "judges another block": {"start": 3},
        "accepts more than was sent": {"accepted": BLOCK + 1},
        "rejects without correcting": {"accepted": 2},
        "corrects what it accepts": {"correction": 3},
        "writes a token out of vocabulary": {"continuation": (400,)},
        "goes on after the end": {"continuation": (EOS, 3)},
        "puts an end in the place of all": {"accepted": 0, "correction": EOS},
        "puts nothing in the place of all": {"accepted": 0, "correction": TEXTLESS},
        "puts a space in the place of all": {"accepted": 0, "correction": SPACE},
        "writes a token without text": {"continuation": (3, TEXTLESS)},
    }.items():
        yield Fault(name, then_says(**changes), MISBEHAVED)
    yield Fault(
        "corrects a token to itself",
        then_answers(lambda block: accepted(block, accepted=2, correction=block.tokens[2])),
        MISBEHAVED,
    )
    yield Fault("replays its answer", replays_its_answer, MISBEHAVED, 2 * BLOCK, BLOCK)
    yield Fault("answers twice", answers_twice, MISBEHAVED, BLOCK, BLOCK)
    yield Fault("closes after one verdict", closes_after_one_verdict, UNREACHABLE, BLOCK, BLOCK)
    yield Fault("pings now and then", pings_now_and_then, None, 24, 24)
    yield Fault("answers in fragments", answers_in_fragments, None, 24, 24)


FAULTS = [*_before_a_session(), *_after_a_block()]
