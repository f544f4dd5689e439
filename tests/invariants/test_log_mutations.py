"""Flipped bits in a ledger's file: verification fails, or the log's contents are unchanged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.errors import LedgerError, LogTampered
from ugsd_privacy.ledger import Ledger, LedgerView

FLIPS = 600
INTEGER_BITS = (0, 1, 2, 7, 8, 15, 31, 32, 47, 62)
LOG_TABLES = ("leaves", "charges", "totals", "nodes", "checkpoints", "epochs")
KEYS = {
    "leaves": ["leaf"], "charges": ["leaf"], "totals": ["user", "window", "number"],
    "nodes": ["level", "position"], "checkpoints": ["size"], "epochs": ["epoch"],
}  # fmt: skip


class OneConnection:
    """A ledger in memory, whose readers see what was not committed."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.text_factory = lambda raw: raw.decode(errors="replace")
        with closing(sqlite3.connect(path)) as whole:
            whole.backup(self.db)

    @contextmanager
    def reading(self) -> Iterator[LedgerView]:
        yield LedgerView(self.db)

    @contextmanager
    def changed(self, table: str, column: str, row: tuple[Any, ...], value: str) -> Iterator[None]:
        """Set one cell of the row with this key to another value, given in SQL."""
        keys = " AND ".join(f"{key} = ?" for key in KEYS[table])
        self.db.execute("BEGIN")
        try:
            self.db.execute(f"UPDATE {table} SET {column} = {value} WHERE {keys}", row)
            yield
        finally:
            self.db.execute("ROLLBACK")

    def cells(self, table: str) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
        """Yield column, key of the row, and value; texts as bytes."""
        keys = KEYS[table]
        found = self.db.execute(f"SELECT * FROM {table}")
        columns = [name for name, *_ in found.description]
        for row in map(dict, [zip(columns, values, strict=True) for values in found.fetchall()]):
            for column, value in row.items():
                yield column, tuple(row[key] for key in keys), value


def flips(value: Any) -> Iterator[str]:
    """Yield values, in SQL, that differ in one bit: every byte of a text or of bytes once, and
    bits of every size of an integer."""
    match value:
        case int():
            yield from (str(value ^ 1 << bit) for bit in INTEGER_BITS)
        case bytes():
            yield from (f"x'{flipped.hex()}'" for flipped in flipped_bits(value))
        case str():
            for flipped in flipped_bits(value.encode()):
                yield f"cast(x'{flipped.hex()}' AS text)"
        case None:
            yield "x'00'"


def flipped_bits(data: bytes) -> Iterator[bytes]:
    """Flip one bit of each byte: the next one of the next byte. A hash covers whole bytes."""
    for at, byte in enumerate(data):
        yield data[:at] + bytes([byte ^ 1 << at % 8]) + data[at + 1 :]


def leaf_of(table: str, key: tuple[Any, ...]) -> int | None:
    """Return the leaf that the error must name."""
    if table == "nodes":
        level, position = key
        return (position + 1 << level) - 1
    return key[0] if table in {"leaves", "charges", "epochs"} else None


def contents_of(path: Path) -> list[list[tuple[object, ...]]]:
    """Return everything that the log's tables hold."""
    with closing(sqlite3.connect(path)) as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in LOG_TABLES]


@pytest.mark.slow
@pytest.mark.parametrize("table", LOG_TABLES)
def test_flipped_bit_of_any_value_is_detected(world, table: str) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation(1))
    caption = egress.begin_caption(world.channel, recording=bytes(range(16)))
    egress.seal_block(world.channel, caption, world.escalation(2))
    note = egress.checkpoint()
    egress.reset(["hour"])
    world.ledger.close()
    ledger, tried = OneConnection(world.ledger.path), 0

    def verified() -> object:
        return verify_log(ledger, world.log_key.public, trusted=[note], owner=world.owner)

    assert verified().size == 4
    for column, key, value in list(ledger.cells(table)):
        for flipped in flips(value):
            try:
                with ledger.changed(table, column, key, flipped):
                    tried += 1
                    with pytest.raises(LogTampered) as found:
                        verified()
                if column not in KEYS[table]:
                    assert found.value.index == leaf_of(table, key), (column, str(found.value))
            except sqlite3.IntegrityError:  # two rows of one key: no ledger holds it
                assert column in KEYS[table]
    assert tried >= len(INTEGER_BITS)
    assert verified().size == 4


@pytest.mark.slow
def test_flipped_bit_in_ledger_file_is_never_accepted(world, tmp_path: Path) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    for tokens in range(1, 7):
        egress.seal_block(world.channel, caption, world.escalation(tokens))
    note = egress.checkpoint()
    world.ledger.close()  # folds the write-ahead log into the file
    whole, truth = world.ledger.path.read_bytes(), contents_of(world.ledger.path)
    folder = tmp_path / "flipped"
    folder.mkdir(mode=0o700)
    chance, found = Random(5), 0
    written = [at for at, byte in enumerate(whole) if byte]
    for at in chance.sample(written, FLIPS):
        for path in folder.iterdir():
            path.unlink()
        path = folder / world.ledger.path.name
        changed = bytes([whole[at] ^ 1 << chance.randrange(8)])
        path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        path.chmod(0o600)
        try:
            with Ledger(folder, create=False) as ledger:
                verify_log(ledger, world.log_key.public, trusted=[note], owner=world.owner)
        except (LogTampered, LedgerError):
            found += 1
        else:
            assert contents_of(path) == truth, f"byte {at}"
    assert found > FLIPS / 2


def test_truncated_ledger_file_is_detected(world, tmp_path: Path) -> None:
    egress = world.egress()
    world.connect(egress)
    note = egress.checkpoint()
    world.ledger.close()
    whole = world.ledger.path.read_bytes()
    for pages in range(len(whole) // 4096):
        world.ledger.path.write_bytes(whole[: pages * 4096])
        with (
            pytest.raises((LogTampered, LedgerError)),
            Ledger(world.ledger.path.parent, create=False) as ledger,
        ):
            verify_log(ledger, world.log_key.public, trusted=[note])
