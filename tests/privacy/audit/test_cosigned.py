"""The cosigned checkpoints that a device stores: the last one of each witness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ugsd_privacy.audit.cosigned import CosignedNotes, accept_cosignature, cosign_request
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey, WitnessPublicKey
from ugsd_privacy.tlog.checkpoint import open_checkpoint, sign_checkpoint
from ugsd_privacy.tlog.cosignature import cosign, verify_cosignature, with_cosignatures
from ugsd_privacy.tlog.merkle import EMPTY_ROOT
from ugsd_privacy.tlog.witness import AddCheckpoint, Witness
from ugsd_privacy.tlog.witness_state import WitnessState

from tests.privacy.audit.grown_log import grown_log
from tests.privacy.tlog.signed_tree import Tree

NOW_S = 1_700_000_000


@pytest.fixture
def tree(log_key: LogKey) -> Tree:
    return Tree(log_key)


@pytest.fixture
def key() -> WitnessKey:
    return WitnessKey.generate()


@pytest.fixture
def witness(key: WitnessKey, log_key: LogKey, tmp_path: Path) -> Witness:
    state = WitnessState(tmp_path / "witness.sqlite3", create=True).open()
    return Witness(key, [log_key.public], state, clock=lambda: NOW_S)


@pytest.fixture
def notes(tmp_path: Path) -> CosignedNotes:
    return CosignedNotes(tmp_path / "cosigned")


def cosigned(tree: Tree, size: int, key: WitnessKey, time_s: int = NOW_S) -> str:
    note = tree.note(size)
    return note + cosign(note.partition("\n\n")[0] + "\n", key, time_s)


def test_later_note_replaces_earlier_one_only(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    public = tree.key.public
    for size, time_s, stored_size, stored_s in [
        (5, NOW_S, 5, NOW_S),
        (4, NOW_S + 1, 5, NOW_S),
        (5, NOW_S - 1, 5, NOW_S),
        (5, NOW_S + 2, 5, NOW_S + 2),
        (9, NOW_S + 3, 9, NOW_S + 3),
        (5, NOW_S + 4, 9, NOW_S + 3),
    ]:
        returned = notes.store(cosigned(tree, size, key, time_s), key.public, public)
        stored = notes.latest(key.public)
        assert stored is not None
        assert returned == open_checkpoint(stored, public)
        assert (returned.size, verify_cosignature(stored, key.public)) == (stored_size, stored_s)
    assert len(notes.notes(public)) == 1


def test_second_log_of_same_size_is_refused(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    first = cosigned(tree, 5, key)
    notes.store(first, key.public, tree.key.public)
    fork = Tree(tree.key, "fork")
    with pytest.raises(LogTampered, match="forked"):
        notes.store(cosigned(fork, 5, key, NOW_S + 9), key.public, tree.key.public)
    assert notes.latest(key.public) == first


def test_note_without_cosignature_is_not_stored(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    with pytest.raises(LogTampered, match="did not cosign"):
        notes.store(tree.note(5), key.public, tree.key.public)
    assert notes.notes() == []


def test_stored_notes_are_private(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    notes.store(cosigned(tree, 5, key), key.public, tree.key.public)
    (path,) = (tmp_path / "cosigned").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_damaged_note_is_reported(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    notes.store(cosigned(tree, 5, key), key.public, tree.key.public)
    (path,) = (tmp_path / "cosigned").iterdir()
    whole = path.read_bytes()
    for junk in (b"", b"junk\n", whole[:-9], b"\xff" * 9):
        path.write_bytes(junk)
        for read in (notes.notes, lambda: notes.latest(key.public), lambda: notes.merged("x\n\n")):
            with pytest.raises(LogTampered, match=path.name):
                read()
    path.write_bytes(whole.replace(b"\n5\n", b"\n6\n"))
    with pytest.raises(LogTampered, match=path.name):
        notes.notes(tree.key.public)
    with pytest.raises(LogTampered, match=path.name):
        notes.latest(key.public, tree.key.public)
    with pytest.raises(LogTampered, match=path.name):
        notes.store(cosigned(tree, 7, key), key.public, tree.key.public)
    path.write_text(cosigned(Tree(LogKey.generate()), 5, key), "utf-8")
    assert notes.notes()
    with pytest.raises(LogTampered, match=path.name):
        notes.notes(tree.key.public)


def test_too_many_notes_are_reported_and_none_dropped(
    tree: Tree, notes: CosignedNotes, tmp_path: Path
) -> None:
    keys = [WitnessKey.generate() for _ in range(65)]
    for key in keys[:64]:
        notes.store(cosigned(tree, 5, key), key.public, tree.key.public)
    assert len(notes.notes()) == 64
    notes.store(cosigned(tree, 6, keys[0]), keys[0].public, tree.key.public)
    with pytest.raises(LogTampered, match="64"):
        notes.store(cosigned(tree, 5, keys[64]), keys[64].public, tree.key.public)
    assert len(notes.notes()) == 64
    surplus = tmp_path / "cosigned" / "surplus.note"
    surplus.write_text(cosigned(tree, 5, keys[64]), "utf-8")
    with pytest.raises(LogTampered, match="64"):
        notes.notes()


def test_answer_with_requested_size_is_refused(tree: Tree, key: WitnessKey) -> None:
    request = AddCheckpoint.from_bytes(tree.ask(5, 9))
    assert accept_cosignature(b"4\n", request, key.public, tree.key.public) == 4
    with pytest.raises(LogTampered, match="another log"):
        accept_cosignature(b"5\n", request, key.public, tree.key.public)
    with pytest.raises(LogTampered, match="rolled back"):
        accept_cosignature(b"9999999999999999999\n", request, key.public, tree.key.public)


@pytest.fixture
def device(tmp_path: Path, log_key: LogKey) -> Iterator[Callable]:  # type: ignore[type-arg]
    """Logs of a device by name: the real one, its backups and its forks."""
    with ExitStack() as stack:
        logs: dict = {}

        def ask(name: str, size: int, witness_key: WitnessPublicKey, notes: CosignedNotes):
            if name not in logs:
                given = grown_log(tmp_path / name, log_key, name=name.encode())
                logs[name] = stack.enter_context(given)
            note = logs[name].grow(size)
            with logs[name].ledger.reading() as view:
                return cosign_request(view, note, log_key.public, notes.latest(witness_key))

        yield ask


def test_witness_by_files_detects_rollback_and_fork(
    device: Callable, witness: Witness, key: WitnessKey, log_key: LogKey, tmp_path: Path
) -> None:
    notes, public = CosignedNotes(tmp_path / "cosigned"), log_key.public

    def carried(request: AddCheckpoint) -> str | int:
        body = witness.add_checkpoint(request.to_bytes()).body
        return accept_cosignature(body, request, key.public, public)

    for size in (3, 3, 300):
        note = carried(device("real", size, key.public, notes))
        assert isinstance(note, str)
        notes.store(note, key.public, public)
        assert open_checkpoint(notes.latest(key.public) or "", public).size == size
    with pytest.raises(
        LogTampered, match="rolled back: the witness cosigned 300 leaves, but only 200"
    ) as at:
        device("backup", 200, key.public, notes)
    assert at.value.index == 200
    with pytest.raises(LogTampered, match="forked"):
        device("fork", 400, key.public, notes)
    forgotten = CosignedNotes(tmp_path / "nothing")
    with pytest.raises(LogTampered, match="rolled back"):
        carried(device("backup", 200, key.public, forgotten))
    assert carried(device("real", 350, key.public, forgotten)) == 300
    fork = device("fork", 400, key.public, forgotten)
    refused = AddCheckpoint(300, fork.proof or (bytes(32),), fork.note)
    with pytest.raises(LogTampered, match="not a witness's answer"):
        carried(refused)
    assert len(notes.notes()) == 1


def test_answers_without_matching_cosignature_are_refused(
    device: Callable, witness: Witness, key: WitnessKey, log_key: LogKey, tmp_path: Path
) -> None:
    notes = CosignedNotes(tmp_path / "cosigned")
    request = device("real", 5, key.public, notes)
    answer = witness.add_checkpoint(request.to_bytes()).body
    for body in (b"", b"\xff", b"<html>", b"-1\n", b"5 \n", answer[:-2], answer[1:]):
        with pytest.raises(LogTampered):
            accept_cosignature(body, request, key.public, log_key.public)
    with pytest.raises(LogTampered):
        accept_cosignature(answer, request, WitnessKey.generate().public, log_key.public)


def test_merged_note_has_each_cosignature_once(tree: Tree, log_key: LogKey, tmp_path: Path) -> None:
    notes, note = CosignedNotes(tmp_path / "cosigned"), tree.note(5)
    text = note.partition("\n\n")[0] + "\n"
    for size in (5, 5, 4):
        other = WitnessKey.generate()
        signed = tree.note(size)
        line = cosign(text if size == 5 else signed.partition("\n\n")[0] + "\n", other, NOW_S)
        notes.store(signed + line, other.public, log_key.public)
    merged = notes.merged(note)
    assert merged.count("— ugsd.witness/") == 2
    assert notes.merged(merged) == merged
    assert open_checkpoint(merged, log_key.public).size == 5


def test_new_cosignature_replaces_only_that_witness() -> None:
    log, one, other = LogKey.generate(), WitnessKey.generate(), WitnessKey.generate()
    note = sign_checkpoint(0, EMPTY_ROOT, log)
    text = note.partition("\n\n")[0] + "\n"
    for key, at in ((one, 5), (other, 6), (one, 7)):
        note = with_cosignatures(note, cosign(text, key, at), key.public)
    assert note.count("— ") == 3
    assert (verify_cosignature(note, one.public), verify_cosignature(note, other.public)) == (7, 6)


def test_lost_note_is_detected(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    public = tree.key.public
    notes.store(cosigned(tree, 5, key), key.public, public)
    (path,) = (tmp_path / "cosigned").iterdir()
    path.unlink()
    for read in (notes.notes, lambda: notes.notes(public), lambda: notes.merged(tree.note(5))):
        with pytest.raises(LogTampered, match=r"a cosigned checkpoint, was lost.*audit cosign"):
            read()
    assert notes.latest(key.public) is None, "so that the witness is asked again"
    notes.store(cosigned(tree, 5, key), key.public, public)
    assert len(notes.notes(public)) == 1


def test_note_from_backup_is_detected(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    public = tree.key.public
    notes.store(cosigned(tree, 5, key), key.public, public)
    (path,) = (tmp_path / "cosigned").iterdir()
    old = path.read_bytes()
    notes.store(cosigned(tree, 9, key, NOW_S + 1), key.public, public)
    path.write_bytes(old)
    with pytest.raises(
        LogTampered, match=r"rolled back: .* has 5 leaves, but an earlier one had 9"
    ):
        notes.notes(public)


def test_lost_marks_are_detected(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    public = tree.key.public
    other = WitnessKey.generate()
    notes.store(cosigned(tree, 5, key), key.public, public)
    notes.store(cosigned(tree, 5, other), other.public, public)
    (tmp_path / "cosigned.anchor").unlink()
    with pytest.raises(LogTampered, match=r"cosigned\.anchor, .* was lost"):
        notes.notes(public)
    notes.store(cosigned(tree, 9, key, NOW_S + 1), key.public, public)
    assert len(notes.notes(public)) == 2
