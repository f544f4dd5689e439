from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from ugsd_privacy.audit.bodies import Epoch, plain_body
from ugsd_privacy.audit.merkle import extend_frontier, leaf_hash
from ugsd_privacy.audit.records import EgressRecord, Leaf, decode_record
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import Usage
from ugsd_privacy.errors import LedgerCorrupt, LogTampered
from ugsd_privacy.keys import LogKey

LEAVES = 7


@pytest.fixture
def logged(world):
    """A hello and six blocks, signed at 7 leaves."""
    egress = world.egress()
    caption = world.connect(egress)
    for tokens in range(1, LEAVES):
        egress.seal_block(world.channel, caption, world.escalation(tokens))
    world.note = egress.checkpoint()
    return world


def edit(world, *statements: str) -> None:
    db = sqlite3.connect(world.ledger.path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def rebuild_nodes(world) -> None:
    """What a tamperer does who knows the format: recompute the tree over what is there."""
    db = sqlite3.connect(world.ledger.path)
    db.execute("DELETE FROM nodes")
    frontier: list[bytes] = []
    for index, (content,) in enumerate(
        db.execute("SELECT content FROM leaves ORDER BY leaf").fetchall()
    ):
        frontier, nodes = extend_frontier(frontier, index, leaf_hash(content))
        db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
    db.commit()
    db.close()


def test_an_honest_log_verifies_and_adds_up(logged) -> None:
    summary = verify_log(
        logged.ledger, logged.log_key.public, owner=logged.owner, trusted=[logged.note]
    )
    assert (summary.size, summary.checkpoints) == (LEAVES, 2)
    assert (summary.total.blocks, summary.total.tokens) == (6, 21)


def test_an_empty_log_verifies(world) -> None:
    assert world.verified().total == Usage()


FLIP = "UPDATE {table} SET {column} = cast({column} || x'00' AS blob) WHERE leaf = 3"
SWAP = [
    "UPDATE leaves SET leaf = 99 WHERE leaf = 2",
    "UPDATE leaves SET leaf = 2 WHERE leaf = 3",
    "UPDATE leaves SET leaf = 3 WHERE leaf = 99",
]
SWAP_CHARGES = [statement.replace("leaves", "charges") for statement in SWAP]
TAMPERING = {
    "a changed leaf": ([FLIP.format(table="leaves", column="content")], 3, "record 3"),
    "a changed body": ([FLIP.format(table="leaves", column="sealed")], 3, "record 3"),
    "a deleted body": (["UPDATE leaves SET sealed = x'' WHERE leaf = 3"], 3, "body 3 is gone"),
    "a smaller charge": (["UPDATE charges SET bytes = 1 WHERE leaf = 3"], 3, "charge 3"),
    "a free block": (["UPDATE charges SET blocks = 0 WHERE leaf = 3"], 3, "charge 3"),
    "a smaller epsilon": (["UPDATE charges SET spend = 0 WHERE leaf = 3"], 3, "charge 3"),
    "another's charge": (["UPDATE charges SET user = 'eve' WHERE leaf = 3"], 3, "charge 3"),
    "damaged text": (
        ["UPDATE charges SET user = cast(x'ff' AS text) WHERE leaf = 3"], 3, "charge 3"
    ),
    "another hour's charge": (["UPDATE charges SET hour = hour + 1 WHERE leaf = 3"], 3, "charge 3"),
    "another caption's charge": (
        ["UPDATE charges SET caption = zeroblob(16) WHERE leaf = 3"], 3, "charge 3"
    ),
    "a deleted charge": (["DELETE FROM charges WHERE leaf = 3"], 3, "charge 3"),
    "a deleted leaf": (["DELETE FROM leaves WHERE leaf = 3"], 3, "leaf 3 is missing"),
    "a deleted record": (
        ["DELETE FROM leaves WHERE leaf = 3", "DELETE FROM charges WHERE leaf = 3"],
        3, "leaf 3 is missing",
    ),
    "a deleted first record": (["DELETE FROM leaves WHERE leaf = 0"], 0, "leaf 0 is missing"),
    "swapped leaves": (SWAP, 2, "record 2"),
    "swapped records": (SWAP + SWAP_CHARGES, 2, "record 2"),
    "a changed node": (
        ["UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND position = 1"], 3, "node 1/1"
    ),
    "a deleted node": (["DELETE FROM nodes WHERE level = 2"], 3, "node 2/0"),
    "a surplus node": (["INSERT INTO nodes VALUES (9, 9, zeroblob(32))"], 7, "nodes for 7"),
    "a surplus charge": (
        ["INSERT INTO charges VALUES (9, '', 480000, NULL, 0, 0, 1, 5, 0)"], 7, "8 charges"
    ),
    "a truncated log": (
        ["DELETE FROM leaves WHERE leaf > 4", "DELETE FROM charges WHERE leaf > 4"],
        5, "truncated: 7 leaves were signed, 5 are here",
    ),
    "an emptied log": (["DELETE FROM leaves", "DELETE FROM charges"], 0, "truncated"),
    "a smaller total": (
        ["UPDATE totals SET tokens = 0 WHERE window = 'day'"], None, "day 20000 is not"
    ),
    "a total of epsilon reset in silence": (
        ["UPDATE totals SET spend = 0 WHERE window = 'lifetime'"], None, "lifetime is not",
    ),
    "a deleted total": (
        ["DELETE FROM totals WHERE window = 'hour'"], None, "hour 480012 is missing"
    ),
    "a surplus total": (
        ["INSERT INTO totals VALUES ('eve', 'lifetime', 0, 0, 0, 0, 0, 0)"], None, "eve's lifetime"
    ),
    "a changed checkpoint": (
        ["UPDATE checkpoints SET note = replace(note, char(10) || '7', char(10) || '6')"],
        None, "does not verify",
    ),
    "a checkpoint of another size": (["UPDATE checkpoints SET size = 6"], None, "about size 7"),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "index", "what"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_found_and_named(
    logged, statements: list[str], index: int | None, what: str
) -> None:
    edit(logged, *statements)
    with pytest.raises(LogTampered, match=what) as found:
        logged.verified()
    assert found.value.index == index


def test_a_truncation_that_fits_together_breaks_the_checkpoint(logged) -> None:
    edit(logged, "DELETE FROM leaves WHERE leaf > 4", "DELETE FROM charges WHERE leaf > 4")
    rebuild_nodes(logged)
    with pytest.raises(LogTampered, match="truncated"):
        logged.verified()


def test_a_record_rewritten_with_all_that_follows_from_it_breaks_the_checkpoint(logged) -> None:
    """By one who knows the epoch's secret."""
    with logged.ledger.reading() as view:
        digest, sealed = view.epoch(0) or (b"", b"")
    assert digest == logged.owner.public.digest
    epoch, leaf, salt = Epoch.opened(0, sealed, logged.owner), LEAVES - 1, bytes(32)
    changed = {"tokens": tuple(range(6)), "time_s": 1, "message": None}
    forged = EgressRecord.model_validate(logged.record(leaf).model_dump() | changed)
    content = Leaf.of(forged.to_bytes(), forged.charge, salt).to_bytes()
    db = sqlite3.connect(logged.ledger.path)
    db.execute(
        "UPDATE leaves SET sealed = ?, content = ? WHERE leaf = ?",
        (epoch.seal(leaf, content, salt, forged.to_bytes()), content, leaf),
    )
    db.commit()
    db.close()
    with pytest.raises(LogTampered, match="node 0/6") as found:
        logged.verified()
    assert found.value.index == leaf
    rebuild_nodes(logged)
    with pytest.raises(LogTampered, match="not those that were signed"):
        logged.verified()


def test_a_record_of_an_earlier_hour_is_found_though_it_adds_up(logged) -> None:
    logged.egress().reset(["hour"])
    fields = logged.record(LEAVES).model_dump()
    before = fields["before"] | dict.fromkeys(("hour", "day"), (0,) * 5)
    earlier = EgressRecord.model_validate(fields | {"hour": fields["hour"] - 48, "before": before})
    salt = bytes(32)
    with logged.ledger.passage(user="", caption=None, now_s=0.0) as passage:
        passage.hour = earlier.hour
        passage.before = {window: Usage(*used) for window, used in before.items()}
        body, charge = earlier.to_bytes(), earlier.charge
        content = Leaf.of(body, charge, salt).to_bytes()
        passage.record(charge, content=content, sealed=plain_body(salt, body))
    with pytest.raises(LogTampered, match="earlier hour") as found:
        logged.verified()
    assert found.value.index == LEAVES + 1


def test_a_log_restored_from_a_backup_is_found_by_a_checkpoint_kept_elsewhere(
    tmp_path: Path, new_world: Callable[[Path], object]
) -> None:
    world = new_world(tmp_path / "ledger")
    with world.ledger:
        egress = world.egress()
        caption = world.connect(egress)
        egress.checkpoint()
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    with world.ledger:
        egress.seal_block(world.channel, caption, world.escalation())
        receipt = egress.receipts(caption)[0]
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "backup", tmp_path / "ledger")
    with world.ledger:
        assert world.verified().size == 1
        with pytest.raises(LogTampered, match="truncated"):
            verify_log(world.ledger, world.log_key.public, trusted=[receipt.checkpoint])


def test_a_log_signed_by_another_key_is_refused(logged) -> None:
    with pytest.raises(LogTampered):
        verify_log(logged.ledger, LogKey.generate().public)


def test_a_door_on_a_tampered_log_signs_nothing(logged) -> None:
    egress = logged.egress()
    edit(logged, "UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND position = 6")
    with pytest.raises(LogTampered):
        egress.checkpoint()
    edit(logged, "DELETE FROM leaves WHERE leaf > 4", "DELETE FROM charges WHERE leaf > 4")
    with pytest.raises(LogTampered):
        egress.checkpoint()
    edit(logged, "DELETE FROM nodes")
    with pytest.raises(LedgerCorrupt):
        egress.checkpoint()


@pytest.mark.parametrize(
    "statement",
    [
        *(
            f"DROP TABLE {table}"
            for table in (
                "leaves",
                "charges",
                "totals",
                "nodes",
                "checkpoints",
                "caps",
                "start",
                "epochs",
            )
        ),
        "ALTER TABLE leaves ADD COLUMN note TEXT",
        "CREATE TRIGGER t AFTER INSERT ON charges BEGIN UPDATE charges SET blocks = 0; END",
    ],
)
def test_altered_tables_are_refused(logged, statement: str) -> None:
    edit(logged, statement)
    with pytest.raises(LedgerCorrupt, match="altered"):
        logged.verified()
    logged.ledger.close()
    with pytest.raises(LedgerCorrupt, match="altered"):
        logged.ledger.open()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\x80",
        b"\x01",
        cbor2.dumps({"kind": "hello"}),
        cbor2.dumps({1: 2}),
        b"\x81" * 5000,
    ],
)
def test_bodies_that_are_no_records_are_refused(body: bytes) -> None:
    with pytest.raises(LogTampered):
        decode_record(body)


def test_a_record_has_one_body(logged) -> None:
    for index in range(LEAVES):
        body = logged.record(index).to_bytes()
        assert decode_record(body) == logged.record(index)
        with pytest.raises(LogTampered):
            decode_record(cbor2.dumps(cbor2.loads(body) | {"user": "é"}, canonical=False))


def test_the_door_works_while_the_log_is_being_read(logged) -> None:
    egress = logged.egress()
    caption = logged.connect(egress)
    with logged.ledger.reading() as view:
        egress.seal_block(logged.channel, caption, logged.escalation())
        assert view.size() == LEAVES + 1
