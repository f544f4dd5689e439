"""A witness never signs a smaller or forked tree, whatever the requests and even if killed."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import signal
import sqlite3
import threading
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.errors import KeyFileError, LogTampered, WitnessUnavailable
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey, WitnessPublicKey, open_witness
from ugsd_privacy.tlog import witness_state as module
from ugsd_privacy.tlog.checkpoint import open_checkpoint, sign_checkpoint, sign_note
from ugsd_privacy.tlog.cosignature import cosign, verify_cosignature, with_cosignatures
from ugsd_privacy.tlog.witness import AddCheckpoint, Witness
from ugsd_privacy.tlog.witness_state import WitnessState

from tests.privacy.tlog.signed_tree import Tree

NOW_S = 1_700_000_000

# The example of C2SP tlog-cosignature.
SPEC_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501


@pytest.fixture
def tree(log_key: LogKey) -> Tree:
    return Tree(log_key)


@pytest.fixture
def key() -> WitnessKey:
    return WitnessKey.generate()


@pytest.fixture
def state(tmp_path: Path) -> WitnessState:
    return WitnessState(tmp_path / "witness.sqlite3", create=True).open()


@pytest.fixture
def witness(key: WitnessKey, log_key: LogKey, state: WitnessState) -> Witness:
    return Witness(key, [log_key.public], state, clock=lambda: NOW_S)


def test_cosignature_matches_specification() -> None:
    _, log, cosigned = SPEC_NOTE.rstrip("\n").rsplit("\n", 2)
    blob = base64.b64decode(cosigned.split(" ")[-1])
    assert int.from_bytes(blob[4:12], "big") == 1679315147
    key = WitnessKey.generate()
    text = SPEC_NOTE.partition("\n\n")[0] + "\n"
    line = cosign(text, key, 1679315147)
    ours = base64.b64decode(line.split(" ")[-1])
    assert (len(ours), ours[4:12]) == (len(blob), blob[4:12])
    message = f"cosignature/v1\ntime 1679315147\n{text}".encode()
    key.public.verify(ours[12:], message)
    ident = key.public.name.encode() + b"\n\x04" + key.public.raw
    assert ours[:4] == hashlib.sha256(ident).digest()[:4]
    assert verify_cosignature(f"{text}\n{log}\n{line}", key.public) == 1679315147


def test_cosignature_binds_text_time_and_witness(tree: Tree, key: WitnessKey) -> None:
    note = tree.note(5)
    text = note.partition("\n\n")[0] + "\n"
    line = cosign(text, key, NOW_S)
    assert verify_cosignature(note + line, key.public) == NOW_S
    with pytest.raises(LogTampered):
        verify_cosignature(tree.note(6) + line, key.public)
    with pytest.raises(LogTampered, match="did not cosign"):
        verify_cosignature(note + line, WitnessKey.generate().public)
    name, blob = line.rstrip("\n").rsplit(" ", 1)
    raw = base64.b64decode(blob)
    for bit in range(8 * len(raw)):
        changed = raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]
        with pytest.raises(LogTampered):
            verify_cosignature(f"{note}{name} {base64.b64encode(changed).decode()}\n", key.public)
    assert with_cosignatures(note, line * 2, key.public) == note + line
    foreign_line = cosign(text, WitnessKey.generate(), NOW_S)
    assert with_cosignatures(note, foreign_line + line, key.public) == note + line
    for lines in ("", foreign_line, "— x\n", line[:-1]):
        with pytest.raises(LogTampered):
            with_cosignatures(note, lines, key.public)


def test_witness_key_text_round_trips_strictly(
    tmp_path: Path, key: WitnessKey, log_key: LogKey
) -> None:
    path = tmp_path / "key"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert WitnessKey.load(path).public.to_text() == key.public.to_text()
    text = key.public.to_text()
    (tmp_path / "key.pub").write_text(text + "\n")
    for source in (text, str(tmp_path / "key.pub")):
        assert WitnessPublicKey.load(source).to_text() == text
    for other in (log_key.public.to_text(), text[:-4], "x" + text, text.replace("+", "-"), ""):
        with pytest.raises(KeyFileError):
            WitnessPublicKey.from_text(other)
    path.chmod(0o644)
    with pytest.raises(KeyFileError):
        WitnessKey.load(path)


def test_growing_log_is_cosigned_step_by_step(
    witness: Witness, tree: Tree, key: WitnessKey
) -> None:
    at = 0
    for size in (0, 0, 1, 2, 2, 8, 9, 31, 40):
        answer = witness.add_checkpoint(tree.ask(at, size))
        assert answer.status == 200
        assert verify_cosignature(tree.note(size) + answer.body.decode(), key.public) == NOW_S
        at = size
    origin = hashlib.sha256(tree.key.public.origin.encode()).hexdigest()
    latest = witness.checkpoint(origin).body.decode()
    assert open_checkpoint(latest, tree.key.public).size == 40
    assert verify_cosignature(latest, key.public) == NOW_S
    assert witness.checkpoint("00" * 32).status == 404


def test_wrong_old_size_is_answered_with_right_one(witness: Witness, tree: Tree) -> None:
    assert witness.add_checkpoint(tree.ask(0, 9)).status == 200
    for old, size in ((0, 20), (8, 20), (10, 20), (3, 3), (20, 20), (0, 0)):
        answer = witness.add_checkpoint(tree.ask(old, size))
        assert (answer.status, answer.body) == (409, b"9\n")
        assert answer.content_type == "text/x.tlog.size"


def test_smaller_forked_and_malformed_trees_are_refused(
    witness: Witness, tree: Tree, log_key: LogKey
) -> None:
    assert witness.add_checkpoint(tree.ask(0, 9)).status == 200
    fork = Tree(log_key, "fork", fork=5)
    unknown = Tree(LogKey.generate())
    good = AddCheckpoint.from_bytes(tree.ask(9, 20))

    def changed(**fields: object) -> bytes:
        given = {"old_size": 9, "proof": good.proof, "note": good.note} | fields
        return AddCheckpoint(**given).to_bytes()  # type: ignore[arg-type]

    text = good.note.partition("\n\n")[0] + "\n"
    forged = unknown.note(20).replace(unknown.key.public.origin, log_key.public.origin)
    name = log_key.public.origin
    key_id = base64.b64encode(log_key.public.key_id + bytes(64)).decode()
    for status, body in [
        (400, changed(note=tree.note(8))),
        (409, changed(old_size=8, note=tree.note(8), proof=())),
        (422, fork.ask(9, 20)),
        (409, fork.ask(9, 9)),
        (422, changed(proof=())),
        (422, changed(proof=good.proof[:-1])),
        (422, changed(proof=(*good.proof, bytes(32)))),
        (422, changed(proof=good.proof[::-1])),
        (404, unknown.ask(9, 20)),
        (403, changed(note=forged)),
        (403, changed(note=good.note + f"— {name} {key_id}\n")),
        (403, changed(note=text + "\n— other AAAAAAAA\n")),
        (400, changed(note=sign_note(text + "an extension\n", log_key))),
        (400, b""),
        (400, b"old 9\n"),
        (400, b"\xff\xfe\n\n"),
        (400, good.to_bytes().replace(b"old 9", b"old 09")),
        (400, good.to_bytes().replace(b"old 9", b"old -9")),
        (400, good.to_bytes().replace(b"old 9\n", b"old 9\nAAAA\n")),
        (400, changed(proof=(bytes(32),) * 64)),
        (400, good.to_bytes() + b" " * 100_000),
    ]:
        answer = witness.add_checkpoint(body)
        assert (answer.status, "— " in answer.body.decode()) == (status, False), body
    assert witness.add_checkpoint(good.to_bytes()).status == 200


def test_empty_tree_has_one_root_without_proof(
    witness: Witness, tree: Tree, log_key: LogKey
) -> None:
    note = sign_checkpoint(0, bytes(32), log_key)
    assert witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()).status == 409
    body = AddCheckpoint(0, (bytes(32),), tree.note(3)).to_bytes()
    assert witness.add_checkpoint(body).status == 422


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 40), st.integers(0, 2)), max_size=25))
def test_all_cosigned_checkpoints_form_one_growing_log(
    steps: list[tuple[int, int, int]],
) -> None:
    import tempfile

    log_key = _LOG
    trees = [_TREES[0], *_TREES[1:]]
    with tempfile.TemporaryDirectory() as folder:
        state = WitnessState(Path(folder) / "w", create=True).open()
        witness = Witness(WitnessKey.generate(), [log_key.public], state, clock=lambda: NOW_S)
        cosigned: list[tuple[int, bytes]] = []
        for old, size, which in steps:
            if witness.add_checkpoint(trees[which].ask(old, size)).status == 200:
                cosigned.append(
                    (size, open_checkpoint(trees[which].note(size), log_key.public).root)
                )
    assert [size for size, _ in cosigned] == sorted(size for size, _ in cosigned)
    assert any(
        all(
            open_checkpoint(tree.note(size), log_key.public).root == root for size, root in cosigned
        )
        for tree in trees
    )


_LOG = LogKey.generate()
_TREES = [Tree(_LOG), Tree(_LOG, "a", fork=13), Tree(_LOG, "b", fork=2)]


def _race(folder: Path, vkey_file: Path, seed: int, out: object) -> None:
    """Run one process of a witness, with random requests for two forked trees."""
    log_key = LogKey.load(vkey_file)
    trees = [Tree(log_key), Tree(log_key, "fork", fork=3)]
    key, state = open_witness(folder)
    witness, chance, signed = Witness(key, [log_key.public], state), Random(seed), []
    for _ in range(60):
        which, size = chance.randrange(2), chance.randrange(1, 41)
        answer = witness.add_checkpoint(trees[which].ask(0, size))
        if answer.status == 409:
            answer = witness.add_checkpoint(trees[which].ask(int(answer.body), size))
        if answer.status == 200:
            root = open_checkpoint(trees[which].note(size), log_key.public).root
            signed.append((size, root))
    out.put(signed)  # type: ignore[attr-defined]


def test_threads_and_processes_cosign_one_log(tmp_path: Path, log_key: LogKey) -> None:
    log_key.save(tmp_path / "log.key")
    open_witness(tmp_path / "w")
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [
        context.Process(target=_threads, args=(tmp_path / "w", tmp_path / "log.key", seed, out))
        for seed in (1, 2)
    ]
    for process in processes:
        process.start()
    signed = [pair for _ in range(4) for pair in out.get(timeout=60)]
    for process in processes:
        process.join()
    roots: dict[int, set[bytes]] = {}
    for size, root in signed:
        roots.setdefault(size, set()).add(root)
    assert max(roots) > 3
    assert all(len(found) == 1 for found in roots.values()), "two roots were cosigned for one size"
    trees = [Tree(log_key), Tree(log_key, "fork", fork=3)]
    assert any(
        all(root == open_checkpoint(tree.note(size), log_key.public).root for size, root in signed)
        for tree in trees
    )


def _threads(folder: Path, vkey_file: Path, seed: int, out: object) -> None:
    threads = [
        threading.Thread(target=_race, args=(folder, vkey_file, seed * 10 + n, out))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _die_at(folder: Path, vkey_file: Path, point: str) -> None:
    log_key = LogKey.load(vkey_file)
    key, state = open_witness(folder)
    if point == "before it is on disk":
        replace = module._Latest.replace

        def dying(self, *given) -> None:  # type: ignore[no-untyped-def]
            replace(self, *given)
            os.kill(os.getpid(), signal.SIGKILL)

        module._Latest.replace = dying  # type: ignore[method-assign]
    Witness(key, [log_key.public], state).add_checkpoint(Tree(log_key).ask(9, 20))
    os.kill(os.getpid(), signal.SIGKILL)  # once the state is on disk, before the answer


@pytest.mark.parametrize(
    ("point", "remembered"), [("before it is on disk", 9), ("before it answers", 20)]
)
def test_killed_witness_remembers_every_possible_answer(
    tmp_path: Path, log_key: LogKey, point: str, remembered: int
) -> None:
    log_key.save(tmp_path / "log.key")
    key, state = open_witness(tmp_path / "w")
    tree, fork = Tree(log_key), Tree(log_key, "fork", fork=12)
    witness = Witness(key, [log_key.public], state)
    assert witness.add_checkpoint(tree.ask(0, 9)).status == 200
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_die_at, args=(tmp_path / "w", tmp_path / "log.key", point))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    key, state = open_witness(tmp_path / "w")
    again = Witness(key, [log_key.public], state)
    assert again.add_checkpoint(tree.ask(5, 20)).body == f"{remembered}\n".encode()
    assert again.add_checkpoint(tree.ask(remembered, 20)).status == 200
    assert again.add_checkpoint(fork.ask(20, 20)).status == 409
    assert again.add_checkpoint(fork.ask(20, 30)).status == 422


def test_lost_damaged_or_locked_state_signs_nothing(
    tmp_path: Path, log_key: LogKey, tree: Tree
) -> None:
    key, state = open_witness(tmp_path)
    witness = Witness(key, [log_key.public], state)
    path = tmp_path / "witness.sqlite3"
    busy = Witness(key, [log_key.public], WitnessState(path, busy_timeout_s=0.05).open())
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(WitnessUnavailable):
        busy.add_checkpoint(tree.ask(0, 9))
    db.close()
    assert witness.add_checkpoint(tree.ask(0, 9)).status == 200
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * len(whole))
    with pytest.raises(WitnessUnavailable):
        witness.add_checkpoint(tree.ask(9, 20))
    path.unlink()
    with pytest.raises(WitnessUnavailable, match="no longer knows what it cosigned"):
        open_witness(tmp_path)
    with pytest.raises(WitnessUnavailable):
        witness.add_checkpoint(tree.ask(9, 20))


def test_failed_commit_gives_no_cosignature(
    witness: Witness, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self, *given) -> None:  # type: ignore[no-untyped-def]
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module._Latest, "replace", full)
        with pytest.raises(WitnessUnavailable):
            witness.add_checkpoint(tree.ask(0, 9))
    assert witness.add_checkpoint(tree.ask(0, 5)).status == 200
