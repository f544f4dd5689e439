from __future__ import annotations

import sqlite3
import time

import pytest
from ugsd_privacy.audit.bodies import BodyReader, BodyUnavailable
from ugsd_privacy.audit.owner_acts import OwnerActs
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import LedgerUnavailable, LogTampered
from ugsd_privacy.ledger import JournalRow, Ledger
from ugsd_privacy.reasons import Reason, ReasonCode

DAY_S = 86_400.0


@pytest.fixture
def logged(world):
    """A hello and a block of each of two users, on each of two days: leaves 0 to 7."""
    world.captions = []
    for _ in range(2):
        for user in ("ada", "ben"):
            world.user_egress = world.egress(user=user)
            caption = world.connect(world.user_egress)
            world.user_egress.seal_block(world.channel, caption, world.escalation())
            world.captions.append(caption.id)
        world.now_s += DAY_S
    return world


def edit(world, statement: str) -> None:
    db = sqlite3.connect(world.ledger.path)
    db.execute(statement)
    db.commit()
    db.close()


def erased_leaves(world) -> list[int]:
    with world.ledger.reading() as view:
        reader = BodyReader(view, world.owner)
        return [row.leaf for row in view.rows() if reader.record(row) is BodyUnavailable.ERASED]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, list(range(8))),
        ({"user": "ada"}, [0, 1, 4, 5]),
        ({"caption": 3}, [7]),
        ({"days": 1}, [0, 1, 2, 3]),
        ({"days": 1, "user": "ben"}, [2, 3]),
        ({"user": "eve"}, []),
    ],
)
def test_only_chosen_bodies_are_erased_and_tree_verifies(logged, choice, expected) -> None:
    before = logged.verified()
    given = {"user": choice.get("user")}
    if "caption" in choice:
        given["caption"] = logged.captions[choice["caption"]]
    if "days" in choice:
        given["before_s"] = logged.now_s - choice["days"] * DAY_S
    count, leaf = logged.user_egress.erase(**given)
    assert (count, leaf) == (len(expected), 8 if expected else -1)
    assert erased_leaves(logged) == expected
    for summary in (logged.verified(), verify_log(logged.ledger, logged.log_key.public)):
        assert summary.erased == len(expected)
        assert summary.total == before.total
    if expected:
        record = logged.record(leaf)
        assert [n for start, stop in record.erased for n in range(start, stop)] == expected
    assert logged.user_egress.erase(**given) == (0, -1), "everything was erased already"


def test_body_deleted_without_erasure_is_detected(logged) -> None:
    logged.user_egress.erase(user="ada")
    edit(logged, "UPDATE leaves SET sealed = x'' WHERE leaf = 3")
    for owner in (logged.owner, None):
        with pytest.raises(LogTampered, match="no record says that you erased it") as found:
            verify_log(logged.ledger, logged.log_key.public, owner=owner)
        assert found.value.index == 3


def test_restored_body_is_detected(logged) -> None:
    db = sqlite3.connect(logged.ledger.path)
    (body,) = db.execute("SELECT sealed FROM leaves WHERE leaf = 1").fetchone()
    db.close()
    logged.user_egress.erase(user="ada")
    db = sqlite3.connect(logged.ledger.path)
    db.execute("UPDATE leaves SET sealed = ? WHERE leaf = 1", (body,))
    db.commit()
    db.close()
    with pytest.raises(LogTampered, match="body 1 was erased"):
        logged.verified()


def test_missing_record_of_erasure_is_detected(logged) -> None:
    logged.user_egress.erase()
    edit(logged, "UPDATE leaves SET sealed = x'' WHERE leaf = 8")
    with pytest.raises(LogTampered):
        logged.verified()


def test_erased_body_is_gone_from_all_files(logged) -> None:
    logged.user_egress = logged.egress(limits=BudgetLimits.without_caps())
    for size in (40, 60, 80):  # several pages, so that some overflow and some are moved
        caption = logged.connect(logged.user_egress)
        for _ in range(20):
            block = logged.escalation(size, dim=128)
            logged.user_egress.seal_block(logged.channel, caption, block)
    with logged.ledger.reading() as view:
        bodies = {row.leaf: row.sealed for row in view.rows()}
    files = b"".join(path.read_bytes() for path in logged.ledger.path.parent.iterdir())
    assert bodies[40][-30:] in files
    logged.user_egress.erase()
    files = b"".join(path.read_bytes() for path in logged.ledger.path.parent.iterdir())
    for leaf, body in bodies.items():
        assert not any(body[at : at + 24] in files for at in range(9, len(body) - 24, 200)), leaf
    assert logged.verified().erased == len(bodies)


def test_reader_with_old_bytes_is_reported(logged) -> None:
    with logged.ledger.reading() as view:
        view.size()
        with pytest.raises(LedgerUnavailable, match="erase again"):
            logged.user_egress.erase()
    assert logged.user_egress.erase() == (0, -1)
    assert logged.ledger.path.with_name("ledger.sqlite3-wal").stat().st_size == 0
    assert logged.verified().erased == 8


@pytest.mark.parametrize("statement", ["UPDATE leaves", "INSERT INTO leaves", "COMMIT"])
def test_failed_erasure_erases_nothing(logged, statement: str) -> None:
    database = logged.ledger._database
    real = database._connection

    class Full:
        def _check(self, text: str) -> None:
            if text.startswith(statement):
                raise sqlite3.OperationalError("database or disk is full")

        def execute(self, text: str, *values: object) -> object:
            self._check(text)
            return real.execute(text, *values)

        def executemany(self, text: str, *values: object) -> object:
            self._check(text)
            return real.executemany(text, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    database._connection = Full()
    with pytest.raises(LedgerUnavailable):
        logged.user_egress.erase()
    database._connection = real
    assert erased_leaves(logged) == []
    assert logged.verified().size == 8


def test_erasure_of_many_ranges_needs_several_records(
    logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ugsd_privacy.audit.owner_acts.MAX_RANGES", 1)
    count, leaf = logged.user_egress.erase(user="ada")
    assert (count, leaf) == (4, 9)
    assert erased_leaves(logged) == [0, 1, 4, 5]
    assert logged.verified().erased == 4
    assert [logged.record(index).erased for index in (8, 9)] == [((0, 2),), ((4, 6),)]


def test_erasure_does_not_wait_for_readers(world) -> None:
    world.ledger.close()
    world.ledger = Ledger(world.ledger.path.parent, busy_timeout_s=30)
    with world.ledger:
        egress = world.egress()
        world.connect(egress)
        with world.ledger.reading() as view:
            assert view.size() == 1
            egress.reset(["hour"])
            begun_s = time.monotonic()
            with pytest.raises(LedgerUnavailable, match="erase again"):
                egress.erase()
            assert time.monotonic() - begun_s < 10
        assert egress.erase() == (0, -1), "the second erasure cleans the files"


def test_erasure_limit_excludes_its_own_second(logged) -> None:
    hour_s = int(logged.now_s // 3600) * 3600
    notes = [
        JournalRow(
            at, "ada", bytes(16), 0, 5, 0.1, "local", Reason(code=ReasonCode.BELOW_THRESHOLD)
        )
        for at in (hour_s - 1, hour_s)
    ]
    with logged.ledger.as_owner() as owner:
        owner.append_to_journal(notes)
    logged.user_egress.erase(before_s=hour_s + 5.0)
    with logged.ledger.reading() as view:
        assert [note.time_s for note in view.journal("ada")] == [hour_s]


def test_erasure_ignores_concurrent_appends(logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may append forever."""
    once, calls = OwnerActs._erase_batch, []

    def erased(self, **chosen):
        done = once(self, **chosen)
        calls.append(done)
        assert len(calls) < 5
        logged.connect(logged.egress())
        return done

    monkeypatch.setattr(OwnerActs, "_erase_batch", erased)
    assert logged.user_egress.erase() == (8, 8)
    assert len(calls) == 1
