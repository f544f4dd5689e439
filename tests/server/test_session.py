"""The session state machine: anything that a peer sends has one of the typed outcomes."""

from __future__ import annotations

import logging
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import FRAME_BYTES, HELLO_BYTES, ClientChannel
from ugsd_privacy.protocol.messages import (
    AskedSlot,
    ContinueTo,
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    Welcome,
    decode_server_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape
from ugsd_server.errors import SessionMisuse
from ugsd_server.metrics import Metrics
from ugsd_server.session import Close, Reply, SessionLimits, VerifierSession, Work
from ugsd_server.verifier.acceptance import Rank
from ugsd_server.verifier.engine import Verifier


class Pair:
    """A session and a device's channel, connected without a network."""

    def __init__(self, key: VerifierKey, scorer: Any, *, max_captions: int = 8) -> None:
        verifier = Verifier(scorer, acceptance=Rank(rank=12))
        verifier.load()
        self.metrics = Metrics()
        self.session = VerifierSession((key,), verifier, SessionLimits(max_captions), self.metrics)
        self.device = ClientChannel(key.public)

    def greet(self) -> Pair:
        reply = self.session.receive(self.device.hello())
        assert isinstance(reply, Reply)
        welcome = decode_server_message(self.device.receive_hello(reply.frame))
        assert isinstance(welcome, Welcome)
        return self

    def send(self, message: bytes) -> Any:
        step = self.session.receive(self.device.seal(message))
        if isinstance(step, Work):
            step = self.session.finish(step.run())
        assert isinstance(step, Reply)
        return decode_server_message(self.device.open(step.frame))


@pytest.fixture
def pair(key: VerifierKey, make_scorer: Any) -> Pair:
    return Pair(key, make_scorer()).greet()


def test_block_gets_a_verdict_and_is_counted(pair: Pair, make_block: Any) -> None:
    verdict = pair.send(encode(make_block((2, 3, 4), caption=7)))
    assert verdict == Verdict(caption=7, start=0, accepted=3, correction=None, continuation=())
    assert (pair.metrics.verdicts, pair.metrics.tokens_drafted) == (1, 3)
    assert pair.metrics.tokens_accepted == 3
    assert pair.metrics.sessions_opened == 1


@settings(deadline=None)
@given(
    junk=st.one_of(
        st.binary(max_size=64),
        st.sampled_from([HELLO_BYTES, *FRAME_BYTES]).flatmap(
            lambda n: st.binary(min_size=4, max_size=4).map(lambda b: (b * n)[:n])
        ),
        st.sampled_from(FRAME_BYTES).map(lambda n: b"\x03" + bytes(n - 1)),
        st.integers(0, 2).map(lambda v: bytes([1, v]) + bytes(HELLO_BYTES - 2)),
    ),
    greeted=st.booleans(),
)
def test_random_bytes_close_session_with_one_code(
    key: VerifierKey, make_scorer: Any, junk: bytes, greeted: bool
) -> None:
    pair = Pair(key, make_scorer())
    if greeted:
        pair.greet()
    for _ in range(2):  # and it stays closed
        assert pair.session.receive(junk) == Close(1008)
    assert pair.metrics.sessions_rejected == 1


@settings(deadline=None, max_examples=60)
@given(where=st.integers(0, 10**6), bit=st.integers(0, 7), hello=st.booleans())
def test_flipped_bit_closes_the_session(
    key: VerifierKey, make_scorer: Any, make_block: Any, where: int, bit: int, hello: bool
) -> None:
    pair = Pair(key, make_scorer())
    frame = bytearray(
        pair.device.hello() if hello else pair.greet().device.seal(encode(make_block()))
    )
    frame[where % len(frame)] ^= 1 << bit
    assert pair.session.receive(bytes(frame)) == Close(1008)


def test_replay_reorder_or_second_hello_closes_session(
    key: VerifierKey, make_scorer: Any, make_block: Any
) -> None:
    def frames(pair: Pair) -> tuple[bytes, bytes]:
        message = encode(make_block())
        return pair.device.seal(message), pair.device.seal(message)

    replayed = Pair(key, make_scorer()).greet()
    first, _ = frames(replayed)
    step = replayed.session.receive(first)
    assert isinstance(step, Work)
    replayed.session.finish(step.run())
    assert replayed.session.receive(first) == Close()

    reordered = Pair(key, make_scorer()).greet()
    assert reordered.session.receive(frames(reordered)[1]) == Close()

    again = Pair(key, make_scorer()).greet()
    assert again.session.receive(ClientChannel(key.public).hello()) == Close()

    wrong_key = Pair(key, make_scorer())
    other = ClientChannel(VerifierKey.generate().public)
    assert wrong_key.session.receive(other.hello()) == Close()


_LEAVES = st.one_of(st.integers(-5, 2**33), st.binary(max_size=8), st.text(max_size=8), st.none())
_FIELDS = st.dictionaries(
    st.sampled_from(["kind", "caption", "keep", "prefix", "tokens", "states", "user", "audio"]),
    st.one_of(_LEAVES, st.lists(_LEAVES, max_size=4)),
)


@settings(deadline=None, max_examples=50)
@given(message=st.one_of(st.binary(max_size=200), _FIELDS.map(cbor2.dumps)))
def test_sealed_non_block_is_refused_and_session_continues(
    key: VerifierKey, make_scorer: Any, make_block: Any, message: bytes
) -> None:
    pair = Pair(key, make_scorer()).greet()
    assert pair.send(message) == Refusal(code=RefusalCode.BAD_MESSAGE)
    assert isinstance(pair.send(encode(make_block())), Verdict)
    assert pair.metrics.refusals[RefusalCode.BAD_MESSAGE] == 1


@settings(deadline=None, max_examples=60)
@given(
    blocks=st.lists(
        st.fixed_dictionaries(
            {
                "tokens": st.lists(st.integers(0, 14), min_size=1, max_size=9).map(tuple),
                "prefix": st.lists(st.integers(0, 14), max_size=9).map(tuple),
                "keep": st.integers(0, 22),
                "caption": st.integers(0, 4),
                "slot": st.sampled_from(AskedSlot),
                "continue_to": st.sampled_from(ContinueTo),
                "projection": st.integers(0, 2),
            }
        ),
        max_size=8,
    ),
    dim=st.integers(0, 4),
)
def test_well_formed_blocks_get_verdict_or_refusal(
    key: VerifierKey, make_scorer: Any, make_block: Any, blocks: list[Any], dim: int
) -> None:
    pair = Pair(key, make_scorer(), max_captions=2).greet()
    for fields in blocks:
        row = {0: (1,) * dim} if dim else None
        answer = pair.send(encode(make_block(states=row, **fields)))
        assert isinstance(answer, (Verdict, Refusal))
        assert answer != Refusal(code=RefusalCode.INTERNAL)


def test_captions_are_separate_and_oldest_is_dropped(
    key: VerifierKey, make_scorer: Any, make_block: Any
) -> None:
    pair = Pair(key, make_scorer(), max_captions=2).greet()

    def ask(caption: int, keep: int) -> Any:
        return pair.send(encode(make_block((2,), caption=caption, keep=keep)))

    unknown = Refusal(code=RefusalCode.UNKNOWN_PREFIX)
    assert isinstance(ask(1, 0), Verdict)
    assert isinstance(ask(5, 0), Verdict)
    assert isinstance(ask(1, 1), Verdict)
    assert ask(6, 1) == unknown  # a caption that was never opened
    assert isinstance(ask(5, 1), Verdict)
    assert isinstance(ask(1, 2), Verdict)
    assert isinstance(ask(6, 0), Verdict)  # caption 5 goes
    assert ask(5, 1) == unknown
    assert ask(5, 0) == unknown  # ordinals do not go back
    assert ask(3, 0) == unknown
    assert isinstance(ask(1, 3), Verdict)


def test_model_failure_is_refused_and_logged_by_type(
    key: VerifierKey, make_scorer: Any, make_block: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = make_scorer()
    pair = Pair(key, scorer).greet()
    scorer.fail_next = True
    with caplog.at_level(logging.DEBUG):
        assert pair.send(encode(make_block())) == Refusal(code=RefusalCode.INTERNAL)
    assert caplog.messages == ["a block could not be verified: RuntimeError"]
    assert caplog.records[0].exc_info is None
    assert isinstance(pair.send(encode(make_block())), Verdict)


def test_methods_called_in_wrong_order_raise(pair: Pair, make_block: Any) -> None:
    with pytest.raises(SessionMisuse):
        pair.session.finish(Refusal(code=RefusalCode.OVERLOADED))
    assert isinstance(pair.session.receive(pair.device.seal(encode(make_block()))), Work)
    with pytest.raises(SessionMisuse):
        pair.session.receive(b"")
    step = pair.session.finish(Refusal(code=RefusalCode.OVERLOADED))
    assert isinstance(step, Reply)
    assert decode_server_message(pair.device.open(step.frame)) == Refusal(
        code=RefusalCode.OVERLOADED
    )


def reply_to(pair: Pair, message: bytes, shape: TrafficShape) -> tuple[Any, int]:
    """Return the answer to a frame of ``shape`` and the size of the answer's frame."""
    step = pair.session.receive(pair.device.seal(message, shape))
    if isinstance(step, Work):
        step = pair.session.finish(step.run())
    assert isinstance(step, Reply)
    return decode_server_message(pair.device.open(step.frame)), len(step.frame)


def test_cover_frame_is_answered_by_cover_frame(pair: Pair, make_block: Any) -> None:
    cover = encode(Cover())
    for shape, size in ((TrafficShape.CONSTANT, CONSTANT_FRAME_BYTES), (TrafficShape.PADDED, 128)):
        assert reply_to(pair, cover, shape) == (Cover(), size)
        assert isinstance(
            pair.send(encode(make_block((2,), caption=pair.metrics.cover_frames))), Verdict
        )
    assert (
        pair.metrics.cover_frames,
        pair.metrics.verdicts,
        sum(pair.metrics.refusals.values()),
    ) == (
        2,
        2,
        0,
    )


def test_constant_size_frame_gets_constant_size_answer(pair: Pair, make_block: Any) -> None:
    asked = {
        "verdict": encode(make_block((2, 3, 4), caption=1)),
        "continued": encode(make_block((9, 9, 9, 9), caption=2)),
        "unknown prefix": encode(make_block((5,), caption=3, keep=9)),
        "bad message": b"\xa1\x00\x00",
        "cover": encode(Cover()),
    }
    for message in asked.values():
        answer, size = reply_to(pair, message, TrafficShape.CONSTANT)
        assert size == CONSTANT_FRAME_BYTES
    assert answer == Cover()
    assert reply_to(pair, asked["bad message"], TrafficShape.PADDED)[1] == 128, (
        "in padded shape the answer is smaller"
    )


def test_answer_exceeding_constant_frame_becomes_too_large(pair: Pair, make_block: Any) -> None:
    long = Verdict(caption=0, start=0, accepted=1, correction=None, continuation=(2**20 - 1,) * 255)
    for caption, shape in enumerate(TrafficShape):
        frame = pair.device.seal(encode(make_block((2,), caption=caption)), shape)
        assert isinstance(pair.session.receive(frame), Work)
        step = pair.session.finish(long)
        assert isinstance(step, Reply)
        answer = decode_server_message(pair.device.open(step.frame))
        constant = shape is TrafficShape.CONSTANT
        assert answer == (Refusal(code=RefusalCode.TOO_LARGE) if constant else long)
        assert len(step.frame) == (CONSTANT_FRAME_BYTES if constant else 2048)


def test_block_of_wire_version_1_is_bad_message(pair: Pair, make_block: Any) -> None:
    block = {"kind": "block", "caption": 0, "keep": 0, "prefix": [], "tokens": [2, 3]}
    block |= {"state_positions": [0], "state_dim": 3, "states": bytes(3)}
    for message in (block, {"kind": "cover"}):
        answer = pair.send(cbor2.dumps(message, canonical=True))
        assert answer == Refusal(code=RefusalCode.BAD_MESSAGE)
    assert isinstance(pair.send(encode(make_block((2,)))), Verdict), "the session goes on"


@pytest.mark.parametrize("version", [1, 3, 255], ids=["older", "newer", "newest"])
def test_hello_of_another_channel_version_is_closed(
    key: VerifierKey, make_scorer: Any, version: int
) -> None:
    pair = Pair(key, make_scorer())
    hello = pair.device.hello()
    assert pair.session.receive(hello[:1] + bytes([version]) + hello[2:]) == Close(1008)
    assert Pair(key, make_scorer()).session.receive(b"") == Close(1008)
    assert pair.metrics.sessions_rejected == 1
