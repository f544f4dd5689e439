"""Caps per recording: who shares them, what the log keeps, and ledgers from before them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from ugsd_privacy.audit.records import RECORD_VERSION, RECORDING_VERSION, EgressRecord
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import WINDOWS, BudgetLimits, Usage
from ugsd_privacy.errors import BudgetExceeded, LogTampered, RecordingRefused
from ugsd_privacy.ledger import Ledger

ONE, OTHER = b"one recording ..", b"another one ...."
TWO_BLOCKS = BudgetLimits.without_caps(blocks_per_recording=2)


def sealed(world: Any, egress: Any, recording: bytes | None, *, blocks: int = 1) -> Any:
    """Seal blocks of a new caption, and return its handle."""
    caption = egress.begin_caption(world.channel, recording=recording)
    for _ in range(blocks):
        egress.seal_block(world.channel, caption, world.escalation())
    return caption


def test_captions_of_one_recording_share_its_caps(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    sealed(world, egress, ONE, blocks=2)
    with pytest.raises(BudgetExceeded, match="blocks_per_recording") as refusal:
        sealed(world, egress, ONE)
    assert (refusal.value.used, refusal.value.wanted) == (2, 1)
    assert world.verified().total.blocks == 2


def test_recording_of_two_channels_shares_its_caps(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    for _ in range(2):
        world.connect(egress)
        sealed(world, egress, ONE)
    world.connect(egress)
    with pytest.raises(BudgetExceeded, match="blocks_per_recording"):
        sealed(world, egress, ONE)


def test_recordings_at_once_have_caps_of_their_own(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    for _ in range(2):
        for recording in (ONE, OTHER, None, None):
            sealed(world, egress, recording)
    for recording in (ONE, OTHER):
        with pytest.raises(BudgetExceeded, match="blocks_per_recording"):
            sealed(world, egress, recording)
    sealed(world, egress, None)


def test_two_users_share_no_recording(world) -> None:
    for user in ("ada", "ben"):
        egress = world.egress(limits=TWO_BLOCKS, user=user)
        world.connect(egress)
        sealed(world, egress, ONE, blocks=2)
    assert world.verified().total.blocks == 4


def test_continued_caption_stays_in_its_recording(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    caption = sealed(world, egress, ONE, blocks=2)
    world.connect(egress)
    moved = egress.begin_caption(world.channel, continues=caption)
    assert (moved.id, moved.recording) == (caption.id, ONE)
    with pytest.raises(BudgetExceeded, match="blocks_per_recording"):
        egress.seal_block(world.channel, moved, world.escalation())


def test_cap_of_a_recording_survives_a_restart(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    sealed(world, egress, ONE, blocks=2)
    world.ledger.close()
    world.ledger.open()
    world.now_s += 1000 * 86_400  # no clock resets it
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    with pytest.raises(BudgetExceeded, match="blocks_per_recording"):
        sealed(world, egress, ONE)


def test_cover_frames_count_in_a_recording(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(frames_per_recording=1))
    world.connect(egress)
    for expected in (None, BudgetExceeded):
        caption = egress.begin_caption(world.channel, recording=ONE)
        if expected is None:
            egress.seal_cover_frame(world.channel, caption)
            continue
        with pytest.raises(expected, match="frames_per_recording"):
            egress.seal_cover_frame(world.channel, caption)


def test_cap_set_on_the_device_holds_for_recordings(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps())
    world.connect(egress)
    with world.ledger.as_owner() as owner:
        owner.set_cap("", "tokens_per_recording", 5)
    sealed(world, egress, ONE)
    with pytest.raises(BudgetExceeded, match="tokens_per_recording"):
        sealed(world, egress, ONE)


def test_standing_knows_the_recording_before_its_caption(world) -> None:
    egress = world.egress(limits=TWO_BLOCKS)
    world.connect(egress)
    sealed(world, egress, ONE)
    remaining = {
        recording: egress._budget.remaining(None, recording=recording)["blocks_per_recording"]
        for recording in (ONE, OTHER, None)
    }
    assert remaining == {ONE: 1, OTHER: 2, None: 2}
    assert "recording" not in egress.standing(None).used
    assert egress.standing(None, recording=ONE).used["recording"].blocks == 1


@pytest.mark.parametrize("recording", [b"", bytes(15), bytes(17), "a text of 16 ...", 16])
def test_other_ids_of_recordings_are_refused(world, recording: Any) -> None:
    egress = world.egress()
    world.connect(egress)
    with pytest.raises(RecordingRefused, match=r"give it the same os\.urandom\(16\)"):
        egress.begin_caption(world.channel, recording=recording)


def test_id_of_a_recording_is_never_sent(world) -> None:
    egress = world.egress()
    world.connect(egress)
    caption = egress.begin_caption(world.channel, recording=ONE)
    frame = egress.seal_block(world.channel, caption, world.escalation())
    message = world.server.open(frame.data)
    assert ONE not in message
    assert ONE not in frame.data


def test_record_names_the_recording_and_what_it_used(world) -> None:
    egress = world.egress()
    outside = world.connect(egress)
    egress.seal_block(world.channel, outside, world.escalation())
    for _ in range(2):
        sealed(world, egress, ONE)
    hello, before, first, second = map(world.record, range(4))
    assert {hello.version, before.version} == {RECORD_VERSION}
    assert hello.recording_id is before.recording_id is None
    assert {first.version, second.version} == {RECORDING_VERSION}
    assert first.recording_id == second.recording_id == ONE
    assert set(second.before) == set(WINDOWS)
    assert first.before["recording"] == Usage().counts
    assert second.before["recording"] == first.charge.counts
    assert "recording" not in before.before
    assert b"recording_id" not in before.to_bytes()


VERSION_4 = EgressRecord(
    kind="hello", clip_norm=1.0, delta=1e-6, frame_bytes=1, frame_sha256=bytes(32),
    before={"hour": (1,) * 5, "day": (1,) * 5, "lifetime": (1,) * 5}, hour=1, user="ada", time_s=1,
)  # fmt: skip
VERSION_4_SHA256 = "6f88001870e258f9fcdee46ec186de6b35700d0394a66f2c5839793bc925a0fd"


def test_records_outside_recordings_have_the_same_bytes() -> None:
    assert hashlib.sha256(VERSION_4.to_bytes()).hexdigest() == VERSION_4_SHA256


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE charges SET recording = NULL WHERE leaf = 2", "charge 2"),
        ("UPDATE charges SET recording = x'00' WHERE leaf = 1", "charge 1"),
        ("UPDATE totals SET blocks = 0 WHERE window = 'recording'", "recording 6f6e65"),
        ("DELETE FROM totals WHERE window = 'recording'", "recording 6f6e65"),
    ],
)
@pytest.mark.parametrize("as_owner", [True, False])
def test_altered_recording_is_noticed(world, statement: str, what: str, as_owner: bool) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    sealed(world, egress, ONE, blocks=2)
    with closing(sqlite3.connect(world.ledger.path)) as db:
        db.execute(statement)
        db.commit()
    owner = world.owner if as_owner else None
    with pytest.raises(LogTampered, match=what if as_owner else "recording"):
        verify_log(world.ledger, world.log_key.public, owner=owner)


def test_erased_bodies_still_add_up(world) -> None:
    egress = world.egress(user="ada", limits=TWO_BLOCKS)
    world.connect(egress)
    caption = sealed(world, egress, ONE)
    egress.erase(caption=caption.id)
    assert world.verified().erased == 1
    sealed(world, egress, ONE)
    with pytest.raises(BudgetExceeded, match="blocks_per_recording"):
        sealed(world, egress, ONE)
    assert world.verified().total.blocks == 2


FORMAT_4 = (
    "CREATE TABLE charges (leaf INTEGER PRIMARY KEY REFERENCES leaves, user TEXT NOT NULL,"
    " hour INTEGER NOT NULL, caption BLOB, blocks INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    " frames INTEGER NOT NULL, bytes INTEGER NOT NULL, spend INTEGER NOT NULL) STRICT"
)
"""The table as the release before recordings made it."""


def as_format_4(world: Any) -> None:
    with closing(sqlite3.connect(world.ledger.path)) as db:
        db.execute("ALTER TABLE charges DROP COLUMN recording")
        db.execute("PRAGMA user_version = 4")
        (found,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'charges'").fetchone()
        db.commit()
    assert found == FORMAT_4


def test_ledger_from_before_recordings_goes_on(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(blocks_per_lifetime=3))
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    earlier = world.record(1)
    note = egress.checkpoint()
    world.ledger.close()
    as_format_4(world)
    world.ledger.open()
    assert world.record(1) == earlier
    sealed(world, egress, ONE, blocks=2)
    with pytest.raises(BudgetExceeded, match="blocks_per_lifetime"):
        sealed(world, egress, OTHER)
    summary = verify_log(world.ledger, world.log_key.public, owner=world.owner, trusted=[note])
    assert (summary.size, summary.total.blocks) == (4, 3)


def test_ledger_is_converted_whole_or_not_at_all(world) -> None:
    world.connect(world.egress())
    world.ledger.close()
    as_format_4(world)
    with closing(sqlite3.connect(world.ledger.path)) as db:
        db.execute("CREATE TABLE more (x)")
        db.commit()
    with pytest.raises(Exception, match="format 4, and this release reads 5"):
        world.ledger.open()
    with closing(sqlite3.connect(world.ledger.path)) as db:
        db.execute("DROP TABLE more")
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        db.commit()
    world.ledger.open()
    assert world.verified().size == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="opens the ledger in two processes")
def test_processes_that_convert_at_once_agree(world) -> None:
    egress = world.egress()
    world.connect(egress)
    world.ledger.close()
    as_format_4(world)
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            code = 1
            try:
                with Ledger(world.ledger.path.parent, busy_timeout_s=60):
                    code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    world.ledger.open()
    assert world.verified().size == 1
