from __future__ import annotations

import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cbor2
import pytest
from ugsd_privacy.audit.bodies import Epoch, plain_body
from ugsd_privacy.audit.records import (
    RECORD_VERSION,
    RECORDING_VERSION,
    EgressRecord,
    Leaf,
    decode_record,
)
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import Usage
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_privacy.errors import LedgerCorrupt, LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.ledger import Uptime
from ugsd_privacy.tlog.merkle import extend_frontier, leaf_hash

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
    """Recompute the tree over the stored leaves, as an attacker who knows the format would."""
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


def test_untampered_log_verifies_with_correct_totals(logged) -> None:
    summary = verify_log(
        logged.ledger, logged.log_key.public, owner=logged.owner, trusted=[logged.note]
    )
    assert (summary.size, summary.checkpoints) == (LEAVES, 2)
    assert (summary.total.blocks, summary.total.tokens) == (6, 21)


def test_empty_log_verifies(world) -> None:
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
    "a deleted body": (["UPDATE leaves SET sealed = x'' WHERE leaf = 3"], 3, "body 3 is missing"),
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
        ["INSERT INTO charges VALUES (9, '', 480000, NULL, 0, 0, 1, 5, 0, NULL)"], 7, "8 charges"
    ),
    "a truncated log": (
        ["DELETE FROM leaves WHERE leaf > 4", "DELETE FROM charges WHERE leaf > 4"],
        5, "truncated: 7 leaves were signed, but only 5 are here",
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
    "a checkpoint of another size": (
        ["UPDATE checkpoints SET size = 6"], None, "of 6 leaves has size 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "index", "what"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_detected_and_located(
    logged, statements: list[str], index: int | None, what: str
) -> None:
    edit(logged, *statements)
    with pytest.raises(LogTampered, match=what) as found:
        logged.verified()
    assert found.value.index == index


def test_consistent_truncation_breaks_checkpoint(logged) -> None:
    edit(logged, "DELETE FROM leaves WHERE leaf > 4", "DELETE FROM charges WHERE leaf > 4")
    rebuild_nodes(logged)
    with pytest.raises(LogTampered, match="truncated"):
        logged.verified()


def test_consistently_rewritten_record_breaks_checkpoint(logged) -> None:
    """The attacker knows the epoch's secret."""
    with logged.ledger.reading() as view:
        digest, sealed = view.epoch(0) or (b"", b"")
    assert digest == logged.owner.public.digest
    epoch, leaf, salt = Epoch.open_sealed(0, sealed, logged.owner), LEAVES - 1, bytes(32)
    changed = {"tokens": tuple(range(6)), "time_s": 1, "message": None}
    forged = EgressRecord.model_validate(logged.record(leaf).model_dump() | changed)
    content = Leaf.from_body(forged.to_bytes(), forged.charge, salt).to_bytes()
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
    with pytest.raises(LogTampered, match="differ from those that were signed"):
        logged.verified()


def test_record_of_earlier_hour_is_detected(logged) -> None:
    logged.egress().reset(["hour"])
    fields = logged.record(LEAVES).model_dump()
    before = fields["before"] | dict.fromkeys(("hour", "day"), (0,) * 5)
    earlier = EgressRecord.model_validate(fields | {"hour": fields["hour"] - 48, "before": before})
    salt = bytes(32)
    with logged.ledger.begin_egress(user="", caption=None, now_s=0.0) as transaction:
        transaction.hour = earlier.hour
        transaction.before = {window: Usage(*used) for window, used in before.items()}
        body, charge = earlier.to_bytes(), earlier.charge
        content = Leaf.from_body(body, charge, salt).to_bytes()
        transaction.record(charge, content=content, sealed=plain_body(salt, body))
    with pytest.raises(LogTampered, match="earlier hour") as found:
        logged.verified()
    assert found.value.index == LEAVES + 1


def test_trusted_checkpoint_detects_log_from_backup(
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


def test_log_signed_by_another_key_is_refused(logged) -> None:
    with pytest.raises(LogTampered):
        verify_log(logged.ledger, LogKey.generate().public)


def test_tampered_log_is_not_signed(logged) -> None:
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
def test_malformed_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(LogTampered):
        decode_record(body)


def test_record_has_one_encoding(logged) -> None:
    for index in range(LEAVES):
        body = logged.record(index).to_bytes()
        assert decode_record(body) == logged.record(index)
        with pytest.raises(LogTampered):
            decode_record(cbor2.dumps(cbor2.loads(body) | {"user": "é"}, canonical=False))


@pytest.mark.parametrize("version", [1, RECORD_VERSION - 1, RECORDING_VERSION + 1])
def test_record_of_another_version_names_it(version: int) -> None:
    body = cbor2.dumps({"version": version, "state_dim": 0}, canonical=True)
    with pytest.raises(LogTampered, match=f"version {version}, .* use the release that wrote it"):
        decode_record(body)


def test_egress_works_during_verification(logged) -> None:
    egress = logged.egress()
    caption = logged.connect(egress)
    with logged.ledger.reading() as view:
        egress.seal_block(logged.channel, caption, logged.escalation())
        assert view.size() == LEAVES + 1


def resealed(logged, leaf: int, **changes: object) -> None:
    """The attacker has the epoch's secret and repairs everything but the signature."""
    with logged.ledger.reading() as view:
        _, sealed = view.epoch(0) or (b"", b"")
    epoch, salt = Epoch.open_sealed(0, sealed, logged.owner), bytes(32)
    forged = logged.record(leaf).model_copy(update=changes)  # not validated
    body = forged.to_bytes()
    content = Leaf.from_body(body, forged.charge, salt).to_bytes()
    with closing(sqlite3.connect(logged.ledger.path)) as db:
        db.execute(
            "UPDATE leaves SET sealed = ?, content = ? WHERE leaf = ?",
            (epoch.seal(leaf, content, salt, body), content, leaf),
        )
        db.execute("DELETE FROM checkpoints")
        db.commit()
    rebuild_nodes(logged)


def test_record_differing_from_its_message_is_detected(logged) -> None:
    tokens = tuple(token + 1 for token in logged.record(3).tokens)
    resealed(logged, 3, tokens=tokens)
    with pytest.raises(LogTampered, match="its message does not match") as found:
        logged.verified()
    assert found.value.index == 3


@pytest.mark.parametrize("message", [b"\xa0", b"", b"\xa1\x64kind\x65cover"])
def test_record_with_wrong_kind_of_message_is_detected(logged, message: bytes) -> None:
    resealed(logged, 3, message=message)
    with pytest.raises(LogTampered, match="record 3: its message"):
        logged.verified()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exponent": 7}, "exponent"),
        ({"sigma": 100.0, "spend": 1}, "exponent"),
        ({"sigma": 100.0, "exponent": 9, "spend": UNBOUNDED_COST}, "privacy cost"),
        ({"spend": 1}, "privacy cost"),
        ({"spend": UNBOUNDED_COST - 1}, "privacy cost"),
        ({"spend": 0}, "privacy cost"),
    ],
)
def test_noise_or_cost_not_computed_is_detected(
    logged, changes: dict[str, object], message: str
) -> None:
    resealed(logged, 3, message=None, **changes)
    with pytest.raises(LogTampered, match=f"record 3: not an egress record: .*{message}") as found:
        logged.verified()
    assert found.value.index == 3


def test_record_with_wrong_prior_usage_is_detected(logged) -> None:
    before = dict(logged.record(3).before)
    before["day"] = tuple(count + 1 for count in before["day"])
    resealed(logged, 3, before=before)
    with pytest.raises(LogTampered, match="before record 3 is not the sum") as found:
        logged.verified()
    assert found.value.index == 3


def test_plain_block_body_is_detected(logged) -> None:
    body, salt = logged.record(3).to_bytes(), bytes(32)
    content = Leaf.from_body(body, logged.record(3).charge, salt).to_bytes()
    with closing(sqlite3.connect(logged.ledger.path)) as db:
        db.execute(
            "UPDATE leaves SET sealed = ?, content = ? WHERE leaf = 3",
            (plain_body(salt, body), content),
        )
        db.execute("DELETE FROM checkpoints")
        db.commit()
    rebuild_nodes(logged)
    with pytest.raises(LogTampered, match="record 3 has the wrong form for its kind"):
        logged.verified()


def test_epoch_naming_the_wrong_key_is_detected(logged) -> None:
    other = OwnerKey.generate().public.digest.hex()
    edit(logged, f"UPDATE epochs SET owner = x'{other}'")
    with pytest.raises(LogTampered, match="names another key") as found:
        logged.verified()
    assert found.value.index == 0


def test_unreadable_charges_must_be_in_hour_order(logged) -> None:
    """The owner's key is not given."""
    edit(logged, "UPDATE charges SET hour = hour - 1 WHERE leaf = 3")
    with pytest.raises(LogTampered, match="charge 3 is for an earlier hour") as found:
        verify_log(logged.ledger, logged.log_key.public)
    assert found.value.index == 3


def test_erasure_of_later_leaves_is_detected(logged) -> None:
    egress = logged.egress()
    egress.erase()
    record = logged.record(LEAVES)
    salt = bytes(32)
    for erased in (((0, LEAVES + 1),), ((3, 3),), ((5, 4),)):
        body = record.model_copy(update={"erased": erased}).to_bytes()
        content = Leaf.from_body(body, record.charge, salt).to_bytes()
        with closing(sqlite3.connect(logged.ledger.path)) as db:
            db.execute(
                "UPDATE leaves SET sealed = ?, content = ? WHERE leaf = ?",
                (plain_body(salt, body), content, LEAVES),
            )
            db.execute("DELETE FROM checkpoints")
            db.commit()
        rebuild_nodes(logged)
        with pytest.raises(LogTampered, match="erases leaves that are not before it") as found:
            logged.verified()
        assert found.value.index == LEAVES


def test_leaves_after_last_signature_are_counted(logged) -> None:
    assert logged.verified().unsigned == 0
    edit(logged, f"DELETE FROM checkpoints WHERE size > {LEAVES - 1}")
    assert logged.verified().unsigned in {1, LEAVES}
    edit(logged, "DELETE FROM checkpoints")
    assert logged.verified().unsigned == LEAVES
    note = verify_log(
        logged.ledger, logged.log_key.public, owner=logged.owner, trusted=[logged.note]
    )
    assert note.unsigned == 0, "a trusted checkpoint covers them too"


def test_progress_is_reported(logged) -> None:
    calls: list[tuple[int, int]] = []
    verify_log(logged.ledger, logged.log_key.public, progress=lambda *done: calls.append(done))
    assert calls == [(0, LEAVES)]


BOMB = b"\x9a" + (20_000_000).to_bytes(4, "big") + b"\xa0" * 20_000_000


@pytest.mark.parametrize(
    ("column", "data"),
    [
        ("content", BOMB),
        ("sealed", b"\x00" + bytes(32) + b"\xa1\x61a" + BOMB),
        ("sealed", b"\x00" + bytes(32) + b"\xba\x01\x00\x00\x00" + b"\x60\xa0" * 10_000_000),
    ],
)
def test_ledger_with_cbor_bomb_is_refused_cheaply(logged, column: str, data: bytes) -> None:
    with closing(sqlite3.connect(logged.ledger.path)) as db:
        db.execute(f"UPDATE leaves SET {column} = ? WHERE leaf = 3", (data,))
        db.commit()
    tracemalloc.start()
    with pytest.raises(LogTampered, match="3") as found:
        verify_log(logged.ledger, logged.log_key.public)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.value.index == 3
    assert most < 8 * len(data), "the data is copied but not decoded"


@pytest.mark.parametrize("statement", ["time_s = 9e999", "time_s = 1e308", "uptime_s = -9e999"])
def test_invalid_clock_start_is_refused(logged, statement: str) -> None:
    logged.uptime = Uptime("boot", 5.0)
    logged.egress().reset(["hour"])
    edit(logged, f"UPDATE start SET {statement}")
    with pytest.raises(LedgerCorrupt, match="counted from is invalid"):
        logged.egress().reset(["hour"])


@pytest.mark.parametrize("hour", [-5, 70_389_528, 2**62])
def test_invalid_hours_are_reported(logged, hour: int) -> None:
    edit(logged, f"UPDATE charges SET hour = {hour} WHERE leaf = 3")
    with logged.ledger.reading() as view, pytest.raises(LedgerCorrupt, match="hour"):
        view.hours()
