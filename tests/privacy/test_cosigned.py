"""What a device keeps of its witnesses: the last of each, named where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.audit.checkpoint import open_checkpoint
from ugsd_privacy.audit.cosignature import WitnessKey, cosign, verify_cosignature
from ugsd_privacy.audit.cosigned import CosignedNotes, take_answer
from ugsd_privacy.audit.witness import AddCheckpoint
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys import LogKey

from .signed_tree import Tree

NOW_S = 1_700_000_000


@pytest.fixture
def tree(log_key: LogKey) -> Tree:
    return Tree(log_key)


@pytest.fixture
def key() -> WitnessKey:
    return WitnessKey.generate()


@pytest.fixture
def notes(tmp_path: Path) -> CosignedNotes:
    return CosignedNotes(tmp_path / "cosigned")


def cosigned(tree: Tree, size: int, key: WitnessKey, time_s: int = NOW_S) -> str:
    note = tree.note(size)
    return note + cosign(note.partition("\n\n")[0] + "\n", key, time_s)


def test_a_later_note_takes_the_place_of_an_earlier_one_and_never_the_other_way(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    public = tree.key.public
    for size, time_s, kept_size, kept_s in [
        (5, NOW_S, 5, NOW_S),
        (4, NOW_S + 1, 5, NOW_S),
        (5, NOW_S - 1, 5, NOW_S),
        (5, NOW_S + 2, 5, NOW_S + 2),
        (9, NOW_S + 3, 9, NOW_S + 3),
        (5, NOW_S + 4, 9, NOW_S + 3),
    ]:
        told = notes.keep(cosigned(tree, size, key, time_s), key.public, public)
        kept = notes.latest(key.public)
        assert kept is not None
        assert told == open_checkpoint(kept, public)
        assert (told.size, verify_cosignature(kept, key.public)) == (kept_size, kept_s)
    assert len(notes.notes(public)) == 1


def test_a_witness_that_cosigned_two_logs_of_one_size_is_told_and_the_first_is_kept(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    first = cosigned(tree, 5, key)
    notes.keep(first, key.public, tree.key.public)
    fork = Tree(tree.key, "fork")
    with pytest.raises(LogTampered, match="forked"):
        notes.keep(cosigned(fork, 5, key, NOW_S + 9), key.public, tree.key.public)
    assert notes.latest(key.public) == first


def test_a_note_that_the_witness_did_not_cosign_is_not_kept(
    tree: Tree, key: WitnessKey, notes: CosignedNotes
) -> None:
    with pytest.raises(LogTampered, match="did not cosign"):
        notes.keep(tree.note(5), key.public, tree.key.public)
    assert notes.notes() == []


def test_what_is_kept_is_for_its_owner_alone(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    notes.keep(cosigned(tree, 5, key), key.public, tree.key.public)
    (path,) = (tmp_path / "cosigned").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_note_is_named(
    tree: Tree, key: WitnessKey, notes: CosignedNotes, tmp_path: Path
) -> None:
    notes.keep(cosigned(tree, 5, key), key.public, tree.key.public)
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
        notes.keep(cosigned(tree, 7, key), key.public, tree.key.public)
    path.write_text(cosigned(Tree(LogKey.generate()), 5, key), "utf-8")
    assert notes.notes()
    with pytest.raises(LogTampered, match=path.name):
        notes.notes(tree.key.public)


def test_more_notes_than_an_export_holds_are_told_and_none_is_dropped(
    tree: Tree, notes: CosignedNotes, tmp_path: Path
) -> None:
    keys = [WitnessKey.generate() for _ in range(65)]
    for key in keys[:64]:
        notes.keep(cosigned(tree, 5, key), key.public, tree.key.public)
    assert len(notes.notes()) == 64
    notes.keep(cosigned(tree, 6, keys[0]), keys[0].public, tree.key.public)
    with pytest.raises(LogTampered, match="64"):
        notes.keep(cosigned(tree, 5, keys[64]), keys[64].public, tree.key.public)
    assert len(notes.notes()) == 64
    surplus = tmp_path / "cosigned" / "surplus.note"
    surplus.write_text(cosigned(tree, 5, keys[64]), "utf-8")
    with pytest.raises(LogTampered, match="64"):
        notes.notes()


def test_the_size_that_was_asked_from_is_no_reason_to_ask_again(
    tree: Tree, key: WitnessKey
) -> None:
    request = AddCheckpoint.from_bytes(tree.ask(5, 9))
    assert take_answer(b"4\n", request, key.public, tree.key.public) == 4
    with pytest.raises(LogTampered, match="another log"):
        take_answer(b"5\n", request, key.public, tree.key.public)
    with pytest.raises(LogTampered, match="rolled back"):
        take_answer(b"9999999999999999999\n", request, key.public, tree.key.public)
