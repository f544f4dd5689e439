"""A ledger's file under flipped bits: the log is told to be wrong, or what it says is the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.errors import LedgerError, LogTampered
from ugsd_privacy.ledger import Ledger

FLIPS = 3000
LOG_TABLES = ("leaves", "charges", "totals", "nodes", "checkpoints")


def said(path: Path) -> list[list[tuple[object, ...]]]:
    """All that the log's tables hold."""
    with closing(sqlite3.connect(path)) as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in LOG_TABLES]


@pytest.mark.slow
def test_a_flipped_bit_of_the_ledgers_file_is_found_or_changes_nothing_that_the_log_says(
    world, tmp_path: Path
) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    for tokens in range(1, 7):
        egress.seal_block(world.channel, caption, world.escalation(tokens))
    note = egress.checkpoint()
    world.ledger.close()  # folds the write-ahead log into the file
    whole, truth = world.ledger.path.read_bytes(), said(world.ledger.path)
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
            assert said(path) == truth, f"byte {at}"
    assert found > FLIPS / 2


def test_a_truncated_file_of_a_ledger_is_found(world, tmp_path: Path) -> None:
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
