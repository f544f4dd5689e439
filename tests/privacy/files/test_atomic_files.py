"""Files are written whole or not at all, and stale drafts are deleted."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from ugsd_privacy.errors import ExportFailed
from ugsd_privacy.files import atomic_files as whole_files
from ugsd_privacy.files import file_lock
from ugsd_privacy.files.atomic_files import (
    atomic_writer,
    exclusive_folder,
    is_temporary,
    write_atomically,
)


def test_data_is_synced_before_rename_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "file", []
    sync, replace, sync_directory = os.fsync, Path.replace, whole_files.sync_directory

    def synced(descriptor: int) -> None:
        if not os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            done.append(("synced", os.fstat(descriptor).st_size))
        sync(descriptor)

    def replaced(draft: Path, target: Path) -> Path:
        done.append(("replaced", draft.stat().st_size))
        return replace(draft, target)

    def folder_synced(folder: Path) -> None:
        done.append(("folder", len(path.read_bytes())))
        assert folder == tmp_path
        sync_directory(folder)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(whole_files, "sync_directory", folder_synced)
    write_atomically(path, b"data")
    assert done == [("synced", 4), ("replaced", 4), ("folder", 4)]


def test_failed_write_keeps_old_file_without_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError), atomic_writer(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ExportFailed, match="cannot write"):
        write_atomically(path / "below", b"")


def test_only_stale_drafts_are_deleted(tmp_path: Path) -> None:
    stale, name = "0123456789abcdef", "log[1].ugsd"
    others = [
        f".{name}.{stale[:-1]}",
        f".{name}.{stale[:-1]}x",
        f".other.{stale}",
        f"{name}.{stale}",
        f".{name}.{stale}.bak",
    ]
    for old in (*others, f".{name}.{stale}"):
        (tmp_path / old).write_bytes(b"x")
        os.utime(tmp_path / old, (1, 1))
    fresh = f".{name}.{stale[::-1]}"
    (tmp_path / fresh).write_bytes(b"x")
    (tmp_path / f".{name}.{'0' * 16}").mkdir()
    os.utime(tmp_path / f".{name}.{'0' * 16}", (1, 1))
    write_atomically(tmp_path / name, b"data")
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {*others, fresh, name, f".{name}.{'0' * 16}"}


def test_drafts_are_recognised_by_name() -> None:
    assert is_temporary(".checkpoint.0123456789abcdef")
    for name in ("checkpoint", ".checkpoint", "checkpoint.0123456789abcdef", ".x.0123", "000"):
        assert not is_temporary(name)


def test_folder_lock_is_exclusive(tmp_path: Path) -> None:
    folder, done, started = tmp_path / "made", [], threading.Event()

    def second() -> None:
        started.set()
        with exclusive_folder(folder, 5):
            done.append("second")

    thread = threading.Thread(target=second)
    with exclusive_folder(folder, 5):
        thread.start()
        started.wait()
        thread.join(0.2)
        done.append("first")
    thread.join()
    assert done == ["first", "second"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportFailed), exclusive_folder(tmp_path / "file", 0):
        pass


def test_missing_locks_are_ignored_failing_locks_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.EBADF

    def refused(*given: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_lock.fcntl, "flock", refused)
    with exclusive_folder(tmp_path, 0):
        write_atomically(tmp_path / "file", b"")
    number = errno.EIO
    with pytest.raises(ExportFailed, match="cannot lock"), exclusive_folder(tmp_path, 0):
        pass
