"""Key files: rotation, earlier keys, crashes in between, and servers that notice changes."""

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

from tests.doubles.lock_holder import Hold

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
    """Treat every change as old, so that a key ring relies on file stamps alone."""
    monkeypatch.setattr("ugsd_server.keyring._SETTLED_NS", -60 * 10**9)


def test_rotation_retains_previous_key_until_its_end(path: Path) -> None:
    before = VerifierKey.load(path).public
    rotation = rotate(path, overlap_s=30 * DAY, now_s=NOW + 0.25)
    retained = path.with_name("verifier.key.until-2027-02-14T080000Z")
    assert (rotation.retained, rotation.ends_s) == (retained, NOW + 30 * DAY)
    assert rotation.removed == ()
    assert VerifierKey.load(path).public == rotation.public != before
    assert VerifierKey.load(retained).public == before
    for file in (path, retained):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert VerifierPublicKey.load(public_file(file)) == VerifierKey.load(file).public
    assert {file.name for file in path.parent.iterdir()} == {
        "verifier.key",
        "verifier.key.pub",
        retained.name,
        f"{retained.name}.pub",
    }


def test_rotation_without_overlap_retains_no_key(path: Path) -> None:
    rotation = rotate(path, overlap_s=0, now_s=NOW + 0.25)
    assert rotation.retained is None
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.pub"]


@pytest.mark.usefixtures("settled")
def test_running_key_ring_follows_rotations_and_expiry(path: Path, clock: Clock) -> None:
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
    assert publics(ring) == [third], "a clock that is set back revives no key"
    fresh = Clock()
    fresh.now_s = NOW + 4 * DAY
    assert publics(loaded(path, fresh)) == [third]


def test_changes_within_a_clock_tick_are_noticed(path: Path, clock: Clock) -> None:
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
def test_removed_earlier_key_is_no_longer_accepted(path: Path, clock: Clock) -> None:
    ring = loaded(path, clock)
    retained = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert retained is not None
    assert len(ring.accepted_keys()) == 2
    time.sleep(0.05)  # a tick of the file system's clock
    retained.unlink()
    assert publics(ring) == [VerifierKey.load(path).public]


@pytest.mark.usefixtures("settled")
def test_unchanged_keys_are_not_read_again(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW)
    ring = loaded(path, clock)
    monkeypatch.setattr(VerifierKey, "load", None)
    assert len(ring.accepted_keys()) == 2


@pytest.mark.usefixtures("settled")
def test_unreadable_key_is_retried_without_visible_change(path: Path, clock: Clock) -> None:
    ring = loaded(path, clock)
    retained = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert retained is not None
    retained.chmod(0o640)
    assert len(ring.accepted_keys()) == 1
    retained.chmod(0o600)
    assert len(ring.accepted_keys()) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
@pytest.mark.parametrize("which", ["current", "earlier"])
def test_keys_readable_by_others_are_refused(
    path: Path, clock: Clock, which: str, mode: int
) -> None:
    retained = rotate(path, overlap_s=DAY, now_s=NOW).retained
    assert retained is not None
    (path if which == "current" else retained).chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        loaded(path, clock)


def test_unrelated_files_beside_the_key_are_ignored(path: Path, clock: Clock) -> None:
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


def test_key_expiry_is_parsed_from_file_name() -> None:
    for name in ("v.until-2027-01-15T080000Z", "v.until-2027-01-15T080000Z.pub"):
        assert expiry_of(Path("/a") / name) == NOW
    for name in ("v", "v.pub", "ugsd-vk1:" + "A" * 1622, "v.until-2027-13-15T080000Z"):
        assert expiry_of(Path(name)) is None


def test_unreadable_files_leave_keys_unchanged(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ring = loaded(path, clock)
    before = publics(ring)
    away = path.with_name("away")
    path.rename(away)
    for _ in range(3):
        assert publics(ring) == before
    assert len(caplog.messages) == 1, "the error is logged once"
    assert "keys not reloaded" in caplog.text
    away.rename(path)
    path.write_text("damaged")
    assert publics(ring) == before
    path.unlink()
    VerifierKey.generate().save(path)
    assert publics(ring) == [VerifierKey.load(path).public]


def test_expired_keys_are_removed_by_next_rotation(path: Path) -> None:
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


def test_rotation_beyond_key_limit_is_refused(path: Path) -> None:
    for n in range(MAX_EARLIER_KEYS):
        rotate(path, overlap_s=DAY + n, now_s=NOW)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match=r"7 earlier keys are still accepted: remove .*until-"):
        rotate(path, overlap_s=9 * DAY, now_s=NOW)
    assert path.read_bytes() == before
    rotate(path, overlap_s=DAY, now_s=NOW + DAY)


def test_two_rotations_with_same_end_lose_no_key(path: Path) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="choose another overlap"):
        rotate(path, overlap_s=DAY, now_s=NOW)
    assert path.read_bytes() == before


def test_missing_damaged_or_exposed_key_is_not_rotated(path: Path, tmp_path: Path) -> None:
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


def test_symlinked_key_is_rotated_in_place(path: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "verifier.key"
    link.symlink_to(path)
    ring = loaded(link, Clock())
    rotation = rotate(link, overlap_s=DAY, now_s=NOW)
    assert link.is_symlink()
    assert VerifierKey.load(link).public == rotation.public == publics(ring)[0]
    assert len(ring.accepted_keys()) == 2


def test_concurrent_rotation_is_refused(path: Path, hold: Hold) -> None:
    pytest.importorskip("fcntl")
    end = hold("folder", path.parent)
    started_s = time.monotonic()
    with pytest.raises(KeyFileError, match="another process is rotating keys"):
        rotate(path, overlap_s=DAY, now_s=NOW)
    assert time.monotonic() - started_s < 3
    end()
    rotate(path, overlap_s=DAY, now_s=NOW)


# For n = 1, 2, ..., rotates in a copy of the folder and kills itself at the n-th access of a file,
# as counted by an audit hook, until a rotation succeeds.
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


def test_crash_during_rotation_loses_no_key(path: Path, tmp_path: Path) -> None:
    rotate(path, overlap_s=DAY, now_s=NOW - 2 * DAY)  # this key has expired and is removed, too
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
