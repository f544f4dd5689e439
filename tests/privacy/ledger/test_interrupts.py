"""An interrupt at any point leaves the ledger usable, for this thread and for all others."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy import slots
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.ledger import Ledger, database, store

from tests.doubles.busy_threads import all_at_once
from tests.doubles.interrupts import interrupts


def egress(ledger: Ledger) -> None:
    with ledger.begin_egress(user="ada", caption=None, now_s=1.0, timeout_s=2.0) as transaction:
        assert transaction.index >= 0


def view(ledger: Ledger) -> None:
    with ledger.reading(timeout_s=2.0) as seen:
        assert seen.size() == 0


def sign(ledger: Ledger) -> None:
    with ledger.signing(timeout_s=2.0):
        pass


def change(ledger: Ledger) -> None:
    with ledger.as_owner(timeout_s=2.0):
        pass


@pytest.mark.parametrize("use", [egress, view, sign, change, Ledger.truncate_write_ahead_log])
def test_ledger_is_usable_after_an_interrupt(tmp_path: Path, use: Any) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        use(ledger)
        points = []
        for point in interrupts(lambda: use(ledger), slots, store, database, contextlib):
            points.append(point)
            all_at_once(lambda: egress(ledger))
            use(ledger)
            view(ledger)
        assert len(points) > 30


def test_opening_and_closing_survive_interrupts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger:
        pass

    def work() -> None:
        with ledger:
            pass

    for _ in interrupts(work, slots, store, contextlib):
        all_at_once(lambda: egress(ledger.open()))
        ledger.close()


def test_suspended_block_is_ended_by_its_thread(tmp_path: Path) -> None:
    """A traceback may keep the frame of a block that an interrupt left without ending it."""
    with Ledger(tmp_path / "ledger") as ledger:
        left = ledger.signing()
        left.__enter__()
        egress(ledger)
        with ledger.signing():
            with pytest.raises(LedgerUnavailable, match="was left"):
                left.__exit__(None, None, None)
            assert ledger._require_open()._connection.in_transaction
        egress(ledger)


def test_own_transaction_is_no_damage(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        with (
            ledger.signing() as transaction,
            pytest.raises(LedgerUnavailable, match="try again"),
            store._typed_errors(ledger.path),
        ):
            transaction._db.execute("BEGIN")
        egress(ledger)
        with pytest.raises(sqlite3.OperationalError), ledger._require_open().exclusive(1) as db:
            db.execute("COMMIT")
