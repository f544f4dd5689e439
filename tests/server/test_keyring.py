"""Keys in their files: the next one, the earlier ones, crashes in between, and who notices."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_server.keyring import MAX_EARLIER_KEYS, KeyRing, expiry_of, public_file, rotate

NOW = 1_800_000_000.0
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    key = VerifierKey.generate()
    key.save(tmp_path / "verifier.key")
    public_file(tmp_path / "verifier.key").write_text(key.public.to_text())
    return tmp_path / "verifier.key"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def loaded(path: Path, clock: Callable[[], float]) -> KeyRing:
    ring = KeyRing(path, now_s=clock)
    ring.load()
    return ring


def publics(ring: KeyRing) -> list[VerifierPublicKey]:
    return [key.public for key in ring.accepted_keys()]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every change were long ago, so that a ring goes by nothing but stamps."""
    monkeypatch.setattr("ugsd_server.keyring._SETTLED_NS", -60 * 10**9)


def test_the_next_key_is_current_and_the_one_before_is_kept_until_its_end(path: Path) -> None:
    before = VerifierKey.load(path).public
    rotation = rotate(path, overlap_s=30 * DAY, now_s=NOW + 0.25)
    kept = path.with_name("verifier.key.until-2027-02-14T080000Z")
    assert (rotation.retained, rotation.ends_s, rotation.removed) == (kept, NOW + 30 * DAY, ())
    assert VerifierKey.load(path).public == rotation.public != before
    assert VerifierKey.load(kept).public == before
    for file in (path, kept):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert VerifierPublicKey.load(public_file(file)) == VerifierKey.load(file).public
    assert {file.name for file in path.parent.iterdir()} == {
        "verifier.key",
        "verifier.key.pub",
        kept.name,
        f"{kept.name}.pub",
    }


def test_an_overlap_of_nothing_keeps_nothing(path: Path) -> None:
    rotation = rotate(path, overlap_s=0, now_s=NOW + 0.25)
    assert rotation.retained is None
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.pub"]


@pytest.mark.usefixtures("settled")
def test_a_running_ring_notices_a_rotation_and_closes_each_key_at_its_end(
    path: Path, clock: Clock
) -> None:
    ring = loaded(path, clock)
    first = publics(ring)
    second = rotate(path, overlap_s=2 * DAY, now_s=NOW).public
    assert publics(ring) == [second, *first]
    third = rotate(path, overlap_s=3 * DAY, now_s=NOW + DAY).public
    assert publics(ring) == [third, second, *first]
    clock.now_s = NOW + 2 * DAY - 0.001
    assert publics(ring) == [third, second, *first]
    clock.now_s = NOW + 2 * DAY
    assert publics(ring) == [third, second]
    clock.now_s = NOW + 4 * DAY
    assert publics(ring) == [third]
    clock.now_s = NOW
    assert publics(ring) == [third], "a clock set back opens no key again"
    fresh = Clock()
    fresh.now_s = NOW + 4 * DAY
    assert publics(loaded(path, fresh)) == [third]


def test_changes_that_follow_each_other_at_once_are_all_noticed(path: Path, clock: Clock) -> None:
    """A file system's clock may not have ticked between them."""
    ring = loaded(path, clock)
    for days in range(1, MAX_EARLIER_KEYS + 1):
        rotation = rotate(path, overlap_s=days * DAY, now_s=NOW)
        assert publics(ring)[0] == rotation.public
        assert len(ring.accepted_keys()) == days + 1
    before = path.parent.stat()
    assert rotation.retained is not None
    rotation.retained.unlink()
    os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(ring.accepted_keys()) == MAX_EARLIER_KEYS


@pytest.mark.usefixtures("settled")
def test_an_earlier_key_that_is_taken_away_opens_nothing_more(path: Path, clock: Clock) -> None:
    ring = loaded(path, clock)
    kept = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert kept is not None
    assert len(ring.accepted_keys()) == 2
    time.sleep(0.05)  # a tick of the file system's clock
    kept.unlink()
    assert publics(ring) == [VerifierKey.load(path).public]


@pytest.mark.usefixtures("settled")
def test_while_nothing_changes_no_key_is_read_again(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW)
    ring = loaded(path, clock)
    monkeypatch.setattr(VerifierKey, "load", None)
    assert len(ring.accepted_keys()) == 2


@pytest.mark.usefixtures("settled")
def test_what_could_not_be_read_is_tried_again_though_nothing_seems_to_change(
    path: Path, clock: Clock
) -> None:
    ring = loaded(path, clock)
    kept = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert kept is not None
    kept.chmod(0o640)
    assert len(ring.accepted_keys()) == 1
    kept.chmod(0o600)
    assert len(ring.accepted_keys()) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
@pytest.mark.parametrize("which", ["current", "earlier"])
def test_keys_that_others_may_read_are_refused(
    path: Path, clock: Clock, which: str, mode: int
) -> None:
    kept = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert kept is not None
    (path if which == "current" else kept).chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        loaded(path, clock)


def test_others_files_and_odd_names_beside_the_key_are_left_alone(path: Path, clock: Clock) -> None:
    names = [
        "verifier.key.until-soon",
        "verifier.key.until-2026-02-31T000000Z",
        "verifier.key.until-2099-01-01T000000Z.pub",
        "verifier.key.until-2099-01-01T000000Z.bak",
        "other.key.until-2020-01-01T000000Z",
        "verifier.key.until-2020-01-01T000000Zx",
    ]
    for name in names:
        path.with_name(name).write_text("not a key")
    assert len(loaded(path, clock).accepted_keys()) == 1
    rotate(path, overlap_s=DAY, now_s=NOW)
    assert all(path.with_name(name).read_text() == "not a key" for name in names)


def test_an_end_is_read_from_the_name_of_either_file() -> None:
    for name in ("v.until-2027-01-15T080000Z", "v.until-2027-01-15T080000Z.pub"):
        assert expiry_of(Path("/a") / name) == NOW
    for name in ("v", "v.pub", "ugsd-vk1:" + "A" * 1622, "v.until-2027-13-15T080000Z"):
        assert expiry_of(Path(name)) is None


def test_files_that_cannot_be_read_leave_the_keys_as_they_were(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ring = loaded(path, clock)
    before = publics(ring)
    away = path.with_name("away")
    path.rename(away)
    for _ in range(3):
        assert publics(ring) == before
    assert len(caplog.messages) == 1, "it is told once"
    assert "left as they were" in caplog.text
    away.rename(path)
    path.write_text("damaged")
    assert publics(ring) == before
    path.unlink()
    VerifierKey.generate().save(path)
    assert publics(ring) == [VerifierKey.load(path).public]


def test_keys_whose_end_has_come_are_removed_by_the_next_rotation(path: Path) -> None:
    first = rotate(path, overlap_s=DAY, now_s=NOW).retained
    second = rotate(path, overlap_s=DAY, now_s=NOW + DAY - 1)
    assert (second.removed, first is not None and first.exists()) == ((), True)
    third = rotate(path, overlap_s=DAY, now_s=NOW + DAY)
    assert third.removed == (first,)
    assert first is not None
    assert not first.exists()
    assert not public_file(first).exists()
    assert second.retained is not None
    assert second.retained.exists()


def test_no_more_keys_are_kept_open_than_are_tried(path: Path) -> None:
    for n in range(MAX_EARLIER_KEYS):
        rotate(path, overlap_s=DAY + n, now_s=NOW)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match=r"7 earlier keys are still open: remove .*until-"):
        rotate(path, overlap_s=9 * DAY, now_s=NOW)
    assert path.read_bytes() == before
    rotate(path, overlap_s=DAY, now_s=NOW + DAY)


def test_two_rotations_to_the_same_end_lose_no_key(path: Path) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="choose another overlap"):
        rotate(path, overlap_s=DAY, now_s=NOW)
    assert path.read_bytes() == before


def test_a_key_that_is_missing_damaged_or_others_is_not_rotated(path: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key file"):
        rotate(tmp_path / "nothing", overlap_s=DAY, now_s=NOW)
    with pytest.raises(KeyFileError, match="cannot rotate"):
        rotate(tmp_path / "no folder" / "key", overlap_s=DAY, now_s=NOW)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        rotate(path, overlap_s=DAY, now_s=NOW)
    path.write_text("damaged")
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        rotate(path, overlap_s=DAY, now_s=NOW)
    assert path.read_text() == "damaged"


def test_a_key_behind_a_link_is_rotated_where_it_is(path: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "verifier.key"
    link.symlink_to(path)
    ring = loaded(link, Clock())
    rotation = rotate(link, overlap_s=DAY, now_s=NOW)
    assert link.is_symlink()
    assert VerifierKey.load(link).public == rotation.public == publics(ring)[0]
    assert len(ring.accepted_keys()) == 2


def test_one_rotation_at_a_time(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    held = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(KeyFileError, match="rotated already: wait"):
            rotate(path, overlap_s=DAY, now_s=NOW)
    finally:
        os.close(held)
    rotate(path, overlap_s=DAY, now_s=NOW)


# Kills itself at the n-th look at or change of a file, counted by an audit hook, in a copy of the
# folder of its own; for each n until a rotation gets through.
_CRASHING = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from ugsd_server.keyring import rotate

source, copies, now_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
for n in itertools.count(1):
    copy = copies / str(n)
    shutil.copytree(source, copy)
    child = os.fork()
    if child == 0:
        count = itertools.count(1)
        def hook(event, arguments):
            if event in {"open", "os.link", "os.rename", "os.remove", "os.listdir", "os.scandir"}:
                if next(count) == n:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        rotate(copy / "verifier.key", overlap_s=86400, now_s=now_s)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(n)
        break
"""


def test_a_crash_at_any_step_leaves_a_usable_key_and_loses_none(path: Path, tmp_path: Path) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW - 2 * DAY)  # one whose end has come is removed, too
    rotate(path, overlap_s=DAY, now_s=NOW - 10)
    opened = {key.public for key in loaded(path, Clock()).accepted_keys()}
    assert len(opened) == 2
    source, copies = tmp_path / "source", tmp_path / "copies"
    source.mkdir()
    copies.mkdir()
    for file in tmp_path.iterdir():
        if file.is_file():
            shutil.copy2(file, source)
    command = [sys.executable, "-c", _CRASHING, source, copies, str(NOW)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    last = int(done.stdout)
    assert last > 10, "it was killed at every step"
    for n in range(1, last + 1):
        copy = copies / str(n) / "verifier.key"
        assert opened <= set(publics(loaded(copy, Clock()))), n
        again = rotate(copy, overlap_s=DAY + 1, now_s=NOW + 1)
        ring = loaded(copy, Clock())
        assert opened | {again.public} <= set(publics(ring)), n
        assert publics(ring)[0] == again.public == VerifierPublicKey.load(public_file(copy))
        for file in copy.parent.iterdir():
            if "ugsd-vsk1:" in file.read_text():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
