from __future__ import annotations

import sqlite3

import pytest
from ugsd_privacy.audit.bodies import BodyReader, BodyUnavailable, Epoch
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.errors import KeyFileError, LedgerUnavailable, LogTampered
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey

BLOCKS = 3


@pytest.fixture
def logged(world):
    world.user_egress = world.egress(user="ada")
    world.caption = world.connect(world.user_egress)
    world.messages = []
    for tokens in range(1, 1 + BLOCKS):
        frame = world.user_egress.seal_block(world.channel, world.caption, world.escalation(tokens))
        world.messages.append(world.server.open(frame.data))
    return world


def edit(world, statement: str) -> None:
    db = sqlite3.connect(world.ledger.path)
    db.execute(statement)
    db.commit()
    db.close()


def files_of(world) -> bytes:
    return b"".join(path.read_bytes() for path in world.ledger.path.parent.iterdir())


def test_owner_reads_exactly_the_sent_bytes(logged) -> None:
    messages = [logged.record(index).message for index in range(1 + BLOCKS)]
    assert messages == [None, *logged.messages]


def test_level_record_stores_no_states(logged) -> None:
    user_egress = logged.egress(level="record")
    frame = user_egress.seal_block(logged.channel, logged.caption, logged.escalation())
    record = logged.record(frame.record)
    assert (record.message, record.tokens) == (None, tuple(range(7, 12)))
    assert logged.verified().size == 2 + BLOCKS


def test_files_contain_no_plain_sent_data(logged) -> None:
    files = files_of(logged)
    for index, message in enumerate(logged.messages, 1):
        record = logged.record(index)
        assert record.message is not None
        for secret in (message, record.to_bytes(), record.frame_sha256, record.verifier.encode()):
            assert secret not in files


def test_everything_but_bodies_verifies_without_owner_key(logged) -> None:
    with_key = logged.verified()
    without = verify_log(logged.ledger, logged.log_key.public)
    assert (with_key.unread, without.unread) == (0, 1 + BLOCKS)
    assert (without.total, without.root) == (with_key.total, with_key.root)
    with logged.ledger.reading() as view:
        reader = BodyReader(view)
        assert [reader.record(row) for row in view.rows()] == [BodyUnavailable.SEALED] * (
            1 + BLOCKS
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE charges SET tokens = 1 WHERE leaf = 3",
        "UPDATE charges SET frames = 0 WHERE leaf = 3",
        "UPDATE totals SET spend = 0 WHERE window = 'day'",
        "UPDATE charges SET user = 'eve' WHERE leaf = 3",
        "UPDATE leaves SET content = x'00' WHERE leaf = 3",
    ],
)
def test_charges_are_checked_without_owner_key(logged, statement: str) -> None:
    edit(logged, statement)
    with pytest.raises(LogTampered):
        verify_log(logged.ledger, logged.log_key.public)


def test_reset_is_readable_without_owner_key(logged) -> None:
    logged.user_egress.reset(["hour", "day"])
    logged.user_egress.seal_block(logged.channel, logged.caption, logged.escalation())
    assert verify_log(logged.ledger, logged.log_key.public).size == logged.verified().size == 6


def test_other_owners_key_is_reported(logged) -> None:
    with pytest.raises(KeyFileError, match="another key"):
        verify_log(logged.ledger, logged.log_key.public, owner=OwnerKey.generate())


def test_flipped_bit_in_sealed_body_is_detected(logged) -> None:
    with logged.ledger.reading() as view:
        row = list(view.rows())[2]
        reader = BodyReader(view, logged.owner)
        for at in range(len(row.sealed)):
            bad = bytearray(row.sealed)
            bad[at] ^= 1 << at % 8
            with pytest.raises(LogTampered) as found:
                reader.record(row._replace(sealed=bytes(bad)))
            assert found.value.index == 2
        for cut in range(1, len(row.sealed)):
            with pytest.raises(LogTampered):
                reader.record(row._replace(sealed=row.sealed[:cut]))


def test_swapped_bodies_are_detected(logged) -> None:
    db = sqlite3.connect(logged.ledger.path)
    one, two = (row[0] for row in db.execute("SELECT sealed FROM leaves WHERE leaf IN (1, 2)"))
    db.execute("UPDATE leaves SET sealed = ? WHERE leaf = 2", (one,))
    db.execute("UPDATE leaves SET sealed = ? WHERE leaf = 1", (two,))
    db.commit()
    db.close()
    with pytest.raises(LogTampered, match="does not belong to its leaf") as found:
        logged.verified()
    assert found.value.index == 1


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM epochs", "epoch 0 is missing"),
        ("UPDATE epochs SET sealed = zeroblob(1168)", "epoch 0 is damaged"),
    ],
)
def test_lost_or_damaged_epoch_is_reported(logged, statement: str, what: str) -> None:
    edit(logged, statement)
    with pytest.raises(LogTampered, match=what) as found:
        logged.verified()
    assert found.value.index == 0


def test_each_egress_creates_exactly_one_epoch(logged) -> None:
    other = logged.egress()
    for user_egress in (other, logged.user_egress, other):
        user_egress.seal_block(logged.channel, logged.caption, logged.escalation())
    db = sqlite3.connect(logged.ledger.path)
    assert db.execute("SELECT epoch FROM epochs ORDER BY epoch").fetchall() == [(0,), (4,)]
    db.close()
    assert logged.verified().unread == 0


def test_rolled_back_epoch_is_not_reused(world) -> None:
    user_egress = world.egress()
    database = world.ledger._database
    real = database._connection

    class Full:
        def execute(self, statement: str, *values: object) -> object:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(statement, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    database._connection = Full()
    with pytest.raises(LedgerUnavailable):
        world.connect(user_egress)
    database._connection = real
    other = world.egress()
    world.connect(other)
    world.connect(user_egress)
    assert (world.verified().size, world.verified().unread) == (2, 0)


def test_one_key_seals_one_plaintext() -> None:
    epoch = Epoch(0, bytes(32))
    first = epoch.seal(1, b"a leaf", bytes(32), b"body")
    assert epoch.open(1, b"a leaf", first) == bytes(32) + b"body"
    streams = set()
    for index, content in ((1, b"a leaf"), (1, b"another"), (2, b"a leaf")):
        streams.add(epoch.seal(index, content, bytes(32), bytes(4))[9:-16])
    assert len(streams) == 3


def test_owner_key_file_is_complete_and_private(tmp_path) -> None:
    key = OwnerKey.generate()
    key.save(tmp_path / "owner.key")
    key.public.save(tmp_path / "owner.pub")
    assert OwnerKey.load(tmp_path / "owner.key").public == key.public
    assert OwnerPublicKey.load(tmp_path / "owner.pub") == key.public
    (tmp_path / "owner.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        OwnerKey.load(tmp_path / "owner.key")
    for wrong in ("", "ugsd-osk1:AAAA", "ugsd-vsk1:AAAA"):
        (tmp_path / "wrong").write_text(wrong)
        (tmp_path / "wrong").chmod(0o600)
        with pytest.raises(KeyFileError):
            OwnerKey.load(tmp_path / "wrong")
