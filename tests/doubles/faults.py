"""The table of faulty verifiers: what each does, and the expected outcome."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Welcome,
    encode,
)
from ugsd_sdk.drafter.scripted import EOS

from tests.doubles.device import accept
from tests.doubles.faulty_verifier import (
    BLOCK,
    DOT,
    SPACE,
    TEXTLESS,
    Fault,
    Peer,
    framed,
    honest,
)
from tests.doubles.recording_proxy import BINARY, CLOSE, PING, PONG

__all__ = ["FAULTS", "WITHOUT_CONNECTION"]

CONT, TEXT, UNKNOWN = 0x0, 0x1, 0x3  # RFC 6455 section 5.2; 0x3 is reserved
LATE_S = 0.6
"""Later than the deadline of a caption in the tests."""


def below_tls(behave: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Mark a behaviour that replaces TLS."""
    behave.below_tls = True  # type: ignore[attr-defined]
    return behave


# -- before there is a session


def stays_silent(peer: Peer) -> None:
    peer.wait()


@below_tls
def stays_silent_below_tls(peer: Peer) -> None:
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


def sends_headers_forever(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        peer.send(b"X-More: of the same\r\n")


def sends_a_page_forever(peer: Peer) -> None:
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
def speaks_http_instead_of_tls(peer: Peer) -> None:
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


def pings_instead_of_a_welcome(peer: Peer) -> None:
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
        peer.answer(accept(peer.block()))


def welcomes_as(message: Callable[[Welcome], Any]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        peer.upgrade()
        answer = encode(message(peer.welcome))
        peer.send_frame(peer.channel.receive_hello(peer.frame(), answer))
        peer.wait()

    return behave


# -- after a block


def floods(peer: Peer, frame: bytes) -> None:
    """Send the frame as fast as possible, and read nothing."""
    many = frame * 100
    while True:
        peer.send(many)


def then(act: Callable[[Peer, Block], None]) -> Callable[[Peer], None]:
    """Greet, read a block, act, and keep reading in silence."""

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


def then_judges(**changes: Any) -> Callable[[Peer], None]:
    """Answer with a verdict that accepts the block, except for the ``changes``."""
    return then_answers(lambda block: accept(block, **changes))


def stops_reading(peer: Peer) -> None:
    peer.greet()
    threading.Event().wait(20)


def pings_forever_and_reads(peer: Peer) -> None:
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
        peer.answer(accept(block))


def drips_the_verdict(peer: Peer, block: Block) -> None:
    peer.drip(framed(peer.sealed(accept(block))))


def answers_in_fragments(peer: Peer) -> None:
    peer.greet()
    while True:
        answer = peer.sealed(accept(peer.block()))
        peer.send_frame(answer[:50], fin=False)
        peer.send_frame(b"between", PING)
        peer.send_frame(b"", CONT, fin=False)
        peer.send_frame(answer[50:], CONT)


def ends_no_message(peer: Peer, block: Block) -> None:
    peer.send_frame(peer.sealed(accept(block)), fin=False)


def masks(peer: Peer, block: Block) -> None:
    payload = peer.sealed(accept(block))
    peer.send(bytes([0x80 | BINARY, 0x80 | 126]) + struct.pack(">H", len(payload)) + bytes(4))
    peer.send(payload)


def sends_reserved_bits(peer: Peer, block: Block) -> None:
    peer.send_frame(peer.sealed(accept(block)), reserved=4)


def replays_its_answer(peer: Peer) -> None:
    peer.greet()
    peer.answer(accept(peer.block()))
    peer.block()
    peer.send_frame(peer.answers[0])
    peer.wait()


def answers_twice(peer: Peer) -> None:
    peer.greet()
    block = peer.block()
    peer.send(framed(peer.sealed(accept(block))) + framed(peer.sealed(accept(block))))
    peer.wait()


def reflects_the_block(peer: Peer) -> None:
    peer.greet()
    peer.send_frame(peer.frame())
    peer.wait()


def answers_late(peer: Peer) -> None:
    peer.greet()
    block = peer.block()
    time.sleep(LATE_S)
    peer.answer(accept(block))
    while True:
        peer.answer(accept(peer.block()))


def closes_after_one_verdict(peer: Peer) -> None:
    peer.greet()
    peer.answer(accept(peer.block()))


def sends_garbage_below_tls(peer: Peer, block: Block) -> None:
    os.write(peer.stream.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))


def closes_with(payload: bytes) -> Callable[[Peer], None]:
    return then_sends(framed(payload, CLOSE))


def code(number: int, why: bytes = b"") -> bytes:
    return struct.pack(">H", number) + why


UNREACHABLE, MISBEHAVED, DEADLINE = "verifier_unreachable", "verifier_misbehaved", "deadline"
NO_TLS = "tls_failed"
WITHOUT_CONNECTION = Fault("refuses connections", honest, UNREACHABLE, sent=0)


def _before_a_session() -> Iterator[Fault]:
    slow = Fault("", honest, UNREACHABLE, sent=0, connects=False)
    quick = Fault("", honest, UNREACHABLE, sent=0)
    for name, behave in {
        "stays silent": stays_silent,
        "drips the answer to the upgrade": drips_the_upgrade,
        "is silent after the upgrade": is_silent_after_the_upgrade,
        "welcomes after the deadline": welcomes_late,
    }.items():
        yield replace(slow, name=name, behave=behave, tls=True)
    for name, behave in {
        "stays silent instead of TLS": stays_silent_below_tls,
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
        "sends headers forever": sends_headers_forever,
        "sends a page forever": sends_a_page_forever,
        "accepts with a wrong key": upgrades_with(Sec_WebSocket_Accept="AAAA"),
        "upgrades to something else": upgrades_with(Upgrade="h2c"),
        "compresses unasked": upgrades_with(Sec_WebSocket_Extensions="permessage-deflate"),
    }.items():
        yield replace(quick, name=name, behave=behave)
    yield replace(
        quick,
        name="speaks HTTP instead of TLS",
        behave=speaks_http_instead_of_tls,
        reason=NO_TLS,
        only_tls=True,
    )
    for name, behave, reason in [
        ("pings instead of a welcome", pings_instead_of_a_welcome, MISBEHAVED),
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
            "wrong_verifier_key",
        ),
        (
            "has another vocabulary",
            welcomes_as(lambda own: own.model_copy(update={"vocabulary": bytes(32)})),
            "other_vocabulary",
        ),
        ("welcomes with a cover", welcomes_as(lambda own: Cover()), MISBEHAVED),
    ]:
        yield replace(quick, name=name, behave=behave, reason=reason)


def _after_a_block() -> Iterator[Fault]:
    for name, behave, reason in [
        ("is silent after the block", then(lambda peer, block: None), DEADLINE),
        ("stops reading", stops_reading, DEADLINE),
        ("pings forever and reads nothing", then_floods(framed(b"", PING)), MISBEHAVED),
        ("pings at length forever", then_floods(framed(bytes(125), PING)), MISBEHAVED),
        ("pings forever and reads", pings_forever_and_reads, MISBEHAVED),
        ("drips the verdict", then(drips_the_verdict), DEADLINE),
        ("sends fragments forever", then_floods(framed(b"", CONT, fin=False)), MISBEHAVED),
    ]:
        yield Fault(name, behave, reason, tls=True)
    for name, behave, reason in [
        ("pongs unasked forever", then_floods(framed(b"", PONG)), MISBEHAVED),
        ("ends no message", then(ends_no_message), DEADLINE),
        ("sends empty frames forever", then_floods(framed(b"")), MISBEHAVED),
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
        ("closes with an invalid code", closes_with(code(999)), MISBEHAVED),
        ("closes with bytes that are not UTF-8", closes_with(code(1000, b"\xff")), MISBEHAVED),
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
                f"verifier_refused: {why}",
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
        "puts an end instead of all": {"accepted": 0, "correction": EOS},
        "puts nothing instead of all": {"accepted": 0, "correction": TEXTLESS},
        "puts a space instead of all": {"accepted": 0, "correction": SPACE},
        "puts a full stop instead of all": {
            "accepted": 0,
            "correction": DOT,
            "continuation": (EOS,),
        },
        "writes a token without text": {"continuation": (3, TEXTLESS)},
    }.items():
        yield Fault(name, then_judges(**changes), MISBEHAVED)
    yield Fault(
        "corrects a token to itself",
        then_answers(lambda block: accept(block, accepted=2, correction=block.tokens[2])),
        MISBEHAVED,
    )
    yield Fault("replays its answer", replays_its_answer, MISBEHAVED, 2 * BLOCK, BLOCK)
    yield Fault("answers twice", answers_twice, MISBEHAVED, BLOCK, BLOCK)
    yield Fault("closes after one verdict", closes_after_one_verdict, UNREACHABLE, BLOCK, BLOCK)
    yield Fault("pings now and then", pings_now_and_then, None, 24, 24)
    yield Fault("answers in fragments", answers_in_fragments, None, 24, 24)


FAULTS = [*_before_a_session(), *_after_a_block()]
