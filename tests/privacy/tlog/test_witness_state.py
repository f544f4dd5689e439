"""A witness that lost its state, or has another key, signs nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ugsd_privacy.errors import KeyFileError, LogTampered, WitnessUnavailable
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey, open_witness
from ugsd_privacy.tlog import witness_state
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.cosignature import END_OF_TIME_S, cosign, verify_cosignature
from ugsd_privacy.tlog.witness import AddCheckpoint, Witness
from ugsd_privacy.tlog.witness_state import WitnessState

from tests.privacy.tlog.signed_tree import Tree

NOW_S = 1_700_000_000


@pytest.fixture
def tree(log_key: LogKey) -> Tree:
    return Tree(log_key)


@pytest.fixture
def folder(tmp_path: Path, tree: Tree) -> Path:
    """The folder of a witness that cosigned three leaves."""
    folder = tmp_path / "w"
    assert answered(folder, tree.ask(0, 3), tree) == 200
    return folder


def answered(folder: Path, body: bytes, tree: Tree, key_file: Path | None = None) -> int:
    key, state = open_witness(folder, key_file)
    return Witness(key, [tree.key.public], state).add_checkpoint(body).status


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE things (thing TEXT)")


def without_its_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE cosigned")


@pytest.mark.parametrize("harm", [emptied, another_database, without_its_tables, Path.unlink])
def test_state_that_lost_data_stays_refused(
    folder: Path, tree: Tree, log_key: LogKey, harm: Callable[[Path], None]
) -> None:
    harm(folder / "witness.sqlite3")
    fork = Tree(log_key, "fork")
    for _ in range(2):
        with pytest.raises(WitnessUnavailable, match="no longer knows what it cosigned"):
            answered(folder, fork.ask(0, 3), tree)
    mistyped = folder / "other.key"
    with pytest.raises(WitnessUnavailable) if harm not in FRESH else nothing():
        open_witness(folder, mistyped)
    with pytest.raises(WitnessUnavailable, match=r"no longer knows|another witness"):
        answered(folder, fork.ask(0, 3), tree)


def nothing() -> closing:  # type: ignore[type-arg]
    return closing(sqlite3.connect(":memory:"))


FRESH = (emptied, Path.unlink)
"""After these, the state may be created again for another key."""


def test_running_witness_without_state_signs_nothing(folder: Path, tree: Tree) -> None:
    key, state = open_witness(folder)
    witness = Witness(key, [tree.key.public], state)
    for harm in (emptied, Path.unlink):
        harm(folder / "witness.sqlite3")
        with pytest.raises(WitnessUnavailable):
            witness.add_checkpoint(tree.ask(0, 3))
    assert not (folder / "witness.sqlite3").exists()


def test_no_key_is_created_beside_foreign_state(folder: Path, tree: Tree) -> None:
    mistyped = folder / "witness.kye"
    with pytest.raises(KeyFileError, match="give the path of its key"):
        open_witness(folder, mistyped)
    assert not mistyped.exists()
    assert answered(folder, tree.ask(3, 9), tree) == 200


def test_key_does_not_use_another_witness_state(folder: Path, tree: Tree, tmp_path: Path) -> None:
    open_witness(tmp_path / "v")
    with pytest.raises(WitnessUnavailable, match="another witness"):
        answered(tmp_path / "v", tree.ask(0, 2), tree, folder / "witness.key")
    with pytest.raises(WitnessUnavailable, match="another witness"):
        answered(folder, tree.ask(3, 9), tree, tmp_path / "v" / "witness.key")


@pytest.mark.parametrize("whole", [False, True])
def test_kill_between_state_and_key_is_recoverable(tmp_path: Path, tree: Tree, whole: bool) -> None:
    path = tmp_path / "witness.sqlite3"
    if whole:
        WitnessState(path, create=True).open()
    else:
        emptied(path)
    assert answered(tmp_path, tree.ask(0, 3), tree) == 200
    assert answered(tmp_path, tree.ask(3, 9), tree) == 200


def test_concurrent_first_starts_give_one_witness(tmp_path: Path) -> None:
    keys = []
    threads = [
        threading.Thread(target=lambda: keys.append(open_witness(tmp_path / "w")[0].public.name))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(keys), len(set(keys))) == (8, 1)


def test_cosigned_state_and_journal_removal_are_synced(
    folder: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    class Watched(sqlite3.Connection):
        def close(self) -> None:
            pragmas = ("synchronous", "fullfsync", "journal_mode")
            found.append([self.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])
            super().close()

    connect = sqlite3.connect
    monkeypatch.setattr(
        witness_state.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Watched)
    )
    assert answered(folder, tree.ask(3, 9), tree) == 200
    extra = 3
    assert found == [[extra, 1, "delete"]] * len(found)
    assert found


def test_concurrent_decisions_are_serialized(folder: Path, tree: Tree) -> None:
    _, state = open_witness(folder)
    origin, sizes, started = tree.key.public.origin, [], threading.Event()

    def second() -> None:
        started.set()
        with state.transaction(origin) as latest:
            sizes.append(latest.size)

    thread = threading.Thread(target=second)
    with state.transaction(origin) as latest:
        thread.start()
        started.wait()
        thread.join(0.3)
        assert not sizes, "it read the state that the first was replacing"
        latest.replace(tree.checkpoint(9), tree.note(9))
    thread.join()
    assert sizes == [9]


@pytest.mark.parametrize("clock_s", [0.0, 0.9, -1.0, float(END_OF_TIME_S), 2.0**62])
def test_invalid_clock_signs_nothing(folder: Path, tree: Tree, clock_s: float) -> None:
    key, state = open_witness(folder)
    with pytest.raises(WitnessUnavailable, match="clock"):
        Witness(key, [tree.key.public], state, clock=lambda: clock_s).add_checkpoint(tree.ask(3, 9))
    for good_s in (1.0, END_OF_TIME_S - 1.0):
        witness = Witness(key, [tree.key.public], state, clock=lambda s=good_s: s)  # type: ignore[misc]
        line = witness.add_checkpoint(tree.ask(3, 3)).body.decode()
        assert verify_cosignature(tree.note(3) + line, key.public) == good_s


@pytest.mark.parametrize("time_s", [0, END_OF_TIME_S, 2**62, 2**63, 2**64 - 1])
def test_cosignature_with_time_after_9999_is_refused(tree: Tree, time_s: int) -> None:
    key, note = WitnessKey.generate(), tree.note(5)
    line = cosign(note.partition("\n\n")[0] + "\n", key, time_s)
    with pytest.raises(LogTampered, match="time"):
        verify_cosignature(note + line, key.public)


@pytest.mark.parametrize("size", [2**63, 9_999_999_999_999_999_999])
def test_size_beyond_sqlite_is_malformed(folder: Path, tree: Tree, size: int) -> None:
    note = sign_checkpoint(size, bytes(32), tree.key)
    assert answered(folder, AddCheckpoint(3, (bytes(32),), note).to_bytes(), tree) == 400
    note = sign_checkpoint(2**63 - 1, bytes(32), tree.key)
    assert answered(folder, AddCheckpoint(3, (bytes(32),), note).to_bytes(), tree) == 422
    assert answered(folder, AddCheckpoint(2**63 - 1, (), note).to_bytes(), tree) == 409
