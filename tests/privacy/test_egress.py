from __future__ import annotations

import dataclasses
import hashlib
import os
import sqlite3

import numpy as np
import pytest
from pydantic import ValidationError
from ugsd_privacy.audit.bodies import Epoch
from ugsd_privacy.audit.records import EgressRecord, Leaf, decode_record
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_privacy.dp.mechanism import dequantise
from ugsd_privacy.egress import Egress, Escalation, SealedFrame
from ugsd_privacy.errors import BudgetExceeded, ChannelClosed, LogTampered, WireError
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.protocol.channel import HELLO_BYTES, ClientChannel
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_PROJECTIONS,
    MAX_STATE_DIM,
    AskedSlot,
    ContinueTo,
    Cover,
    Disclosure,
    decode_device_message,
)
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape

NO_LIMITS = BudgetLimits.without_caps()


def test_received_block_equals_escalation_and_record(world) -> None:
    egress = world.egress(user="ada", clip_norm=2.0)
    caption = world.connect(egress)
    escalation = dataclasses.replace(world.escalation(), disclosure=Disclosure.ALL_STATES)
    frame = egress.seal_block(world.channel, caption, escalation)
    block = decode_device_message(world.server.open(frame.data))
    assert (block.caption, block.tokens) == (0, escalation.tokens)
    norms = np.linalg.norm(escalation.states, axis=1, keepdims=True)
    expected = escalation.states * np.minimum(1, 2.0 / norms) / 2.0
    assert np.abs(dequantise(block.states, 16) - expected).max() <= 0.5 / 127 + 1e-6
    record = world.record(frame.record)
    assert record.frame_sha256 == hashlib.sha256(frame.data).digest()
    assert record.frame_bytes == len(frame.data)
    assert (record.user, record.time_s, record.clip_norm) == ("ada", int(world.now_s), 2.0)
    assert (record.tokens, record.state_positions) == (block.tokens, block.state_positions)
    assert record.disclosure is Disclosure.ALL_STATES
    cost = Usage(1, 5, 1, len(frame.data), UNBOUNDED_COST)
    assert (record.charge, record.before["caption"]) == (cost, Usage().counts)
    assert {record.before[window] for window in ("hour", "day", "lifetime")} == {
        (0, 0, 1, HELLO_BYTES, 0)
    }
    assert egress.used()["day"] == Usage(frames=1, bytes=HELLO_BYTES) + cost
    assert (record.sigma, record.spend) == (None, UNBOUNDED_COST)


def test_every_sent_byte_is_in_a_leaf(world) -> None:
    egress = world.egress()
    hello_bytes = 0
    frames = []
    for _ in range(2):
        caption = world.connect(egress)
        hello_bytes += HELLO_BYTES
        frames += [egress.seal_block(world.channel, caption, world.escalation(n)) for n in (1, 9)]
    sent = sum(len(frame.data) for frame in frames)
    summary = world.verified()
    assert summary.total == Usage(4, 20, 6, hello_bytes + sent, UNBOUNDED_COST)
    assert [frame.record for frame in frames] == [1, 2, 4, 5]


def test_tokens_disclosure_sends_no_states(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    none = np.zeros((0, 16), np.float32)
    escalation = Escalation(Disclosure.TOKENS, 3, (1, 2), (4,), (), none)
    frame = egress.seal_block(world.channel, caption, escalation)
    block = decode_device_message(world.server.open(frame.data))
    assert (block.states, block.state_dim, block.prefix) == (b"", 0, (1, 2))
    assert egress.usage(caption) == Usage(1, 3, 1, 128)


@pytest.mark.parametrize(
    "cap", ["blocks_per_caption", "tokens_per_caption", "frames_per_caption", "bytes_per_caption"]
)
def test_refused_block_changes_no_channel_or_ledger(world, cap: str) -> None:
    limit = {"blocks": 1, "tokens": 5, "frames": 1, "bytes": 128}[cap.split("_", maxsplit=1)[0]]
    egress = world.egress(limits=NO_LIMITS.model_copy(update={cap: limit}))
    caption = world.connect(egress)
    egress_frame = egress.seal_block(world.channel, caption, world.escalation())
    world.server.open(egress_frame.data)
    sealed = world.channel.sealed_count
    with pytest.raises(BudgetExceeded) as refusal:
        egress.seal_block(world.channel, caption, world.escalation())
    assert refusal.value.cap == cap
    assert world.channel.sealed_count == sealed
    other = egress.begin_caption(world.channel)
    frame = egress.seal_block(world.channel, other, world.escalation())
    assert decode_device_message(world.server.open(frame.data)).caption == other.ordinal == 1
    assert world.verified().size == 3


def test_hello_over_byte_cap_can_be_retried(world) -> None:
    egress = world.egress(limits=BudgetLimits(bytes_per_day=HELLO_BYTES - 1))
    with pytest.raises(BudgetExceeded, match="bytes_per_day"):
        egress.seal_hello(world.channel)
    assert world.egress().seal_hello(world.channel).record == 0


def test_continued_caption_keeps_its_usage(world) -> None:
    egress = world.egress(limits=BudgetLimits(blocks_per_caption=2))
    first = world.connect(egress)
    egress.seal_block(world.channel, first, world.escalation())
    egress.begin_caption(world.channel)
    world.connect(egress)  # a new session counts from 0 again
    carried = egress.begin_caption(world.channel, continues=first)
    assert (carried.ordinal, carried.id) == (1, first.id)
    with pytest.raises(WireError, match="another session"):
        egress.seal_block(world.channel, first, world.escalation())
    egress.seal_block(world.channel, carried, world.escalation())
    with pytest.raises(BudgetExceeded, match="blocks_per_caption"):
        egress.seal_block(world.channel, carried, world.escalation())


def test_nothing_is_charged_without_session(world) -> None:
    egress = world.egress()
    caption = egress.begin_caption(world.channel)
    with pytest.raises(ChannelClosed):
        egress.seal_block(world.channel, caption, world.escalation())
    assert egress.usage(caption) == Usage()


def test_cover_is_charged_logged_and_empty(world) -> None:
    egress = world.egress(user="ada")
    caption = world.connect(egress)
    cover = egress.seal_cover_frame(world.channel, caption)
    block = egress.seal_block(
        world.channel, caption, world.escalation(), shape=TrafficShape.CONSTANT
    )
    assert len(cover.data) == len(block.data) == CONSTANT_FRAME_BYTES
    assert decode_device_message(world.server.open(cover.data)) == Cover()
    assert decode_device_message(world.server.open(block.data)).tokens == world.escalation().tokens
    record = world.record(cover.record)
    assert (record.kind, record.user, record.caption_id) == ("cover", "ada", caption.id)
    assert record.frame_sha256 == hashlib.sha256(cover.data).digest()
    assert record.charge == Usage(frames=1, bytes=CONSTANT_FRAME_BYTES)
    assert (record.disclosure, record.tokens, record.state_dim) == (None, (), 0)
    assert egress.usage(caption) == Usage(1, 5, 2, 2 * CONSTANT_FRAME_BYTES, UNBOUNDED_COST)
    total = HELLO_BYTES + 2 * CONSTANT_FRAME_BYTES
    everything = Usage(1, 5, 3, total, UNBOUNDED_COST)
    assert world.verified().total == everything
    assert [receipt.index for receipt in egress.receipts(caption)] == [1, 2]


@pytest.mark.parametrize("cap", ["bytes_per_caption", "bytes_per_day"])
def test_byte_cap_stops_blocks_and_covers_alike(world, cap: str) -> None:
    before = HELLO_BYTES if cap == "bytes_per_day" else 0
    for remaining in (0, CONSTANT_FRAME_BYTES - 1):
        limits = NO_LIMITS.model_copy(update={cap: before + remaining})
        egress = world.egress(limits=limits, user=str(remaining))
        caption = world.connect(egress)
        with pytest.raises(BudgetExceeded, match=cap):
            egress.seal_cover_frame(world.channel, caption)
        with pytest.raises(BudgetExceeded, match=cap):
            egress.seal_block(
                world.channel, caption, world.escalation(), shape=TrafficShape.CONSTANT
            )


@pytest.mark.parametrize("cap", ["blocks_per_caption", "tokens_per_caption", "blocks_per_day"])
def test_cover_may_replace_refused_block(world, cap: str) -> None:
    egress = world.egress(limits=NO_LIMITS.model_copy(update={cap: 0}))
    caption = world.connect(egress)
    with pytest.raises(BudgetExceeded):
        egress.seal_block(world.channel, caption, world.escalation(), shape=TrafficShape.CONSTANT)
    cover = egress.seal_cover_frame(world.channel, caption)
    assert decode_device_message(world.server.open(cover.data)) == Cover()


def test_too_large_constant_block_can_become_cover(world) -> None:
    egress = world.egress(limits=NO_LIMITS)
    caption = world.connect(egress)
    sealed = world.channel.sealed_count
    with pytest.raises(WireError, match="constant size"):
        egress.seal_block(
            world.channel, caption, world.escalation(40, dim=128), shape=TrafficShape.CONSTANT
        )
    assert world.channel.sealed_count == sealed
    cover = egress.seal_cover_frame(world.channel, caption)
    assert decode_device_message(world.server.open(cover.data)) == Cover()


def test_cover_needs_a_caption_of_its_session(world) -> None:
    egress = world.egress()
    caption = egress.begin_caption(world.channel)
    with pytest.raises(ChannelClosed):
        egress.seal_cover_frame(world.channel, caption)
    assert egress.usage(caption) == Usage()
    with pytest.raises(WireError, match="another session"):
        egress.seal_cover_frame(ClientChannel(world.verifier.public), caption)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": (1,)},
        {"prefix": (1,)},
        {"state_positions": (0,)},
        {"disclosure": Disclosure.TOKENS},
        {"caption": None},
        {"before": {"hour": (0,) * 5, "day": (0,) * 5, "lifetime": (0,) * 5}},
        {"slot": AskedSlot.EMOTION},
        {"slot": AskedSlot.EMOTION, "continue_to": ContinueTo.NOTHING},
        {"num_draft_weights": 1},
        {"projection": 1},
        {"exponent": 1},
        {"spend": 1},
        {"sigma": 1.0},
        {"resets": ("day",)},
        {"frame_sha256": None},
        {"kind": "reset"},
        {"kind": "hello"},
        {"kind": "block"},
    ],
)
def test_cover_record_with_content_is_refused(world, change) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    cover = egress.seal_cover_frame(world.channel, caption)
    record = world.record(cover.record)
    with pytest.raises(ValidationError):
        EgressRecord(**record.model_dump() | change)


one = np.ones((1, 4), np.float32)
BLOCK = Escalation(Disclosure.ALL_STATES, 2, (5,), (6, 7), (2,), one)
WRONG = {
    "not a number": {"states": one * np.float32("nan")},
    "infinite": {"states": one * np.float32("inf")},
    "double precision": {"states": one.astype(np.float64)},
    "one dimension": {"states": one[0]},
    "too many coordinates": {"states": np.ones((1, MAX_STATE_DIM + 1), np.float32)},
    "more states than positions": {"states": np.ones((2, 4), np.float32)},
    "states beyond tokens": {"disclosure": Disclosure.TOKENS},
    "states beyond the summary": {"disclosure": Disclosure.SUMMARY},
    "prefix states in block_states": {"disclosure": Disclosure.BLOCK_STATES},
    "a state that is held already": {"state_positions": (1,)},
    "a state beyond the block": {"state_positions": (5,)},
    "positions that descend": {"state_positions": (3, 2), "states": np.ones((2, 4), np.float32)},
    "no tokens": {"tokens": ()},
    "a token out of range": {"tokens": (2**20,)},
    "a negative token": {"prefix": (-1,)},
    "a token that is no integer": {"tokens": (1.5,)},
    "a keep that is no integer": {"keep": 2.0},
    "a negative keep": {"keep": -1, "state_positions": (0,)},
    "a caption too long": {"tokens": (1,) * MAX_CAPTION_TOKENS},
    "a slot that is none": {"slot": 2},
    "a continuation that is none": {"continue_to": 3},
    "a projection out of range": {"projection": MAX_PROJECTIONS},
    "a projection that is no integer": {"projection": 0.0},
    "a projection without states": {"projection": 1, "state_positions": (), "states": one[:0]},
    "draft weights beyond the level": {"slot": AskedSlot.EMOTION, "draft_weights": b"\1"},
    "distributions without draft weights": {"disclosure": Disclosure.DISTRIBUTIONS, "keep": 0}
    | {"state_positions": (0,), "slot": AskedSlot.EMOTION},
    "distributions of block states": {
        "disclosure": Disclosure.DISTRIBUTIONS,
        "draft_weights": b"\1",
    }
    | {"slot": AskedSlot.EMOTION},
    "draft weights of no slot": {
        "disclosure": Disclosure.DISTRIBUTIONS,
        "draft_weights": b"\1",
        "keep": 0,
    }
    | {"state_positions": (0,)},
    "draft weights that are all zero": {
        "disclosure": Disclosure.DISTRIBUTIONS,
        "draft_weights": b"\0",
    }
    | {"keep": 0, "state_positions": (0,), "slot": AskedSlot.EMOTION},
    "too many draft weights": {"disclosure": Disclosure.DISTRIBUTIONS, "draft_weights": b"\1" * 65}
    | {"keep": 0, "state_positions": (0,), "slot": AskedSlot.EMOTION},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_escalation_beyond_schema_or_disclosure_is_refused(world, change) -> None:
    egress = world.egress(limits=NO_LIMITS)
    caption = world.connect(egress)
    with pytest.raises(WireError):
        egress.seal_block(world.channel, caption, dataclasses.replace(BLOCK, **change))
    assert world.server.open(egress.seal_block(world.channel, caption, BLOCK).data)


def test_question_is_sent_and_recorded_as_asked(world) -> None:
    egress = world.egress(limits=NO_LIMITS)
    caption = world.connect(egress)
    question = dataclasses.replace(
        BLOCK,
        disclosure=Disclosure.DISTRIBUTIONS,
        keep=0,
        state_positions=(0,),
        slot=AskedSlot.EMOTION,
        continue_to=ContinueTo.CLAUSE,
        projection=3,
        draft_weights=bytes([1, 254]),
    )
    frame = egress.seal_block(world.channel, caption, question)
    block = decode_device_message(world.server.open(frame.data))
    record = world.record(frame.record)
    for sent in (block, record):
        asked = (sent.slot, sent.continue_to, sent.projection)
        assert asked == (AskedSlot.EMOTION, ContinueTo.CLAUSE, 3)
    assert (block.draft_weights, record.num_draft_weights) == (question.draft_weights, 2)
    others = {"slot": AskedSlot.ANY_TOKEN, "continue_to": ContinueTo.CAPTION, "projection": 0}
    for change in (*({name: value} for name, value in others.items()), {"num_draft_weights": 1}):
        body = EgressRecord(**record.model_dump() | change).to_bytes()
        with pytest.raises(LogTampered, match="does not match"):
            decode_record(body)


def test_numpy_integers_are_accepted(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    numbers = tuple(np.arange(6, 8))
    frame = egress.seal_block(
        world.channel, caption, dataclasses.replace(BLOCK, tokens=numbers, keep=np.int64(2))
    )
    assert decode_device_message(world.server.open(frame.data)).tokens == (6, 7)


def test_only_egress_makes_a_sealed_frame(world) -> None:
    with pytest.raises(TypeError):
        SealedFrame(b"", 0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="egress"):
        SealedFrame(b"", 0, object())
    frame = world.egress().seal_hello(world.channel)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(frame, data=b"other")
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.data = b"other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip_norm": 0},
        {"clip_norm": float("nan")},
        {"user": "a" * 65},
        {"user": "a\nb"},
        {"user": "Ada"},
    ],
)
def test_invalid_egress_settings_are_refused(world, wrong) -> None:
    with pytest.raises(ValueError, match=r"must be|the name has|not in its normal form, ada"):
        world.egress(**wrong)


def test_entropy_and_clock_come_from_caller(world) -> None:
    egress = world.egress(entropy=lambda n: b"\5" * n)
    assert world.connect(egress).id == b"\5" * 16
    with world.ledger.reading() as view:
        sealed = next(view.rows()).sealed
    record = world.record(0)
    content = Leaf.from_body(record.to_bytes(), record.charge, b"\5" * 32).to_bytes()
    epoch = Epoch(0, b"\5" * 32)
    assert epoch.seal(0, content, b"\5" * 32, record.to_bytes()) == sealed


def test_receipts_verify_and_changed_receipts_do_not(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    other = egress.begin_caption(world.channel)
    for name in (caption, other, caption, caption):
        egress.seal_block(world.channel, name, world.escalation())
    receipts = egress.receipts(caption)
    assert [receipt.index for receipt in receipts] == [1, 3, 4]
    public = world.log_key.public
    for receipt in receipts:
        again = type(receipt).model_validate_json(receipt.model_dump_json())
        again.verify(public)
        changes = {
            "index": receipt.index + 1,
            "leaf_hash": "00" * 32,
            "tree_size": receipt.tree_size + 1,
            "root": "00" * 32,
            "proof": (*receipt.proof[:-1], "00" * 32),
            "checkpoint": receipt.checkpoint.replace("\n5\n", "\n6\n"),
        }
        for name, value in changes.items():
            with pytest.raises(LogTampered):
                receipt.model_copy(update={name: value}).verify(public)
        with pytest.raises(LogTampered):
            receipt.verify(LogKey.generate().public)
    assert egress.receipts(egress.begin_caption(world.channel)) == []


def test_receipts_of_later_checkpoints_verify(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    for size in range(1, 8):
        egress.seal_block(world.channel, caption, world.escalation(2))
        receipts = egress.receipts(caption)
        assert len(receipts) == size
        for receipt in receipts:
            receipt.verify(world.log_key.public)
    assert world.verified().checkpoints == 7


def test_egress_only_seals() -> None:
    methods = {name for name in vars(Egress) if not name.startswith("_")}
    assert methods == {"begin_caption", "seal_block", "seal_cover_frame", "seal_hello"}


def test_constructors_touch_no_file_and_draw_no_entropy(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untouched:
        def __getattr__(self, name: str) -> object:
            pytest.fail(f"the ledger's {name} was used")

    def used(*_: object, **__: object) -> object:
        pytest.fail("a file was touched, or entropy was drawn")

    with monkeypatch.context() as patched:
        for name in ("urandom", "open", "stat", "mkdir"):
            patched.setattr(os, name, used)
        patched.setattr("builtins.open", used)
        Egress(
            ledger=Untouched(),
            owner=world.owner.public,
            limits=BudgetLimits(),
            sigma=1.0,
            clock=used,
            uptime=used,
            entropy=used,
        )
        ClientChannel(world.verifier.public)


def test_charges_wait_for_disk_checkpoints_do_not(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    database, commits = world.ledger._database, []
    real = database._connection

    class Watched:
        def execute(self, statement: str, *values: object) -> object:
            if statement == "COMMIT":
                commits.append(real.execute("PRAGMA synchronous").fetchone()[0])
            return real.execute(statement, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    database._connection = Watched()
    for _ in range(2):
        egress.seal_block(world.channel, caption, world.escalation())
        egress.receipts(caption)
    database._connection = real
    normal, full = 1, 2
    assert commits == [full, normal] * 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE checkpoints SET note = replace(note, 'ugsd', 'dsgu')",
        "UPDATE nodes SET hash = zeroblob(32) WHERE level = 0",
    ],
)
def test_signer_detects_changes_since_last_checkpoint(world, statement) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    egress.seal_block(world.channel, caption, world.escalation())
    egress.checkpoint()
    db = sqlite3.connect(world.ledger.path)
    db.execute(statement)
    db.commit()
    db.close()
    egress.seal_block(world.channel, caption, world.escalation())
    with pytest.raises(LogTampered):
        egress.receipts(caption)
    with world.ledger.reading() as view:
        assert len(view.checkpoints()) == 1
