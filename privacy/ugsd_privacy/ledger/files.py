"""The ledger's files, as the file system sees them: how they are made, checked and recognised.

SQLite keeps its locks by POSIX advisory locks, which a process loses on a file as soon as it closes
*any* descriptor of that file ("How To Corrupt An SQLite Database File", section 2.2). So nothing
here opens a file that SQLite may have open: files are looked at by path alone. The one exception is
a database file that this call has just created: nobody can have opened that before.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ugsd_privacy.errors import KeyFileError, LedgerCorrupt, LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.file_owners import make_private_folder, require_owned_by_us
from ugsd_privacy.files.reserved_files import FileId
from ugsd_privacy.ledger.schema import LOST

__all__ = ["log_path", "prepare_files", "require_in_place", "require_private", "sqlite_files"]


def prepare_files(path: Path, *, create: bool) -> FileId:
    """Make the database file and its directory where they are missing and ``create`` allows it;
    return which file it is.

    Raises :class:`LedgerCorrupt` where it is missing or empty and must not be created, and
    :class:`LedgerUnavailable` where it cannot be used, or others may use it.
    """
    try:
        if not create and not (path.exists() and path.stat().st_size):
            raise LedgerCorrupt(LOST)
        make_private_folder(path.parent)
        _create_if_missing(path)
        directory, file = path.parent.stat(), path.lstat()
    except OSError as error:
        raise LedgerUnavailable(
            f"cannot open a ledger in {path.parent} ({error.strerror}); to read a copy, "
            "put it where you may write"
        ) from error
    except KeyFileError as error:
        raise LedgerUnavailable(str(error)) from error
    if not stat.S_ISREG(file.st_mode):
        raise LedgerUnavailable(f"{path} is not a regular file")
    require_private(path.parent, directory, mode=0o700)
    require_private(path, file, mode=0o600)
    for part in _companions(path):
        if os.path.lexists(part):  # before SQLite, run by root, takes it over
            require_private(part, part.lstat(), mode=0o600)
    if file.st_nlink != 1:
        raise LedgerUnavailable(
            f"{path} has {file.st_nlink} names (hard links), and an SQLite database must have one; "
            "delete the other names, or put a copy in its place"
        )
    return FileId.of(file)


def require_private(path: Path, status: os.stat_result, *, mode: int) -> None:
    """Raise :class:`LedgerUnavailable` unless the file or folder at ``path``, whose ``status`` was
    asked, belongs to this process' user and nobody else may use it; ``mode`` would be right."""
    if os.name == "posix" and status.st_mode & 0o077:
        raise LedgerUnavailable(f"others may use {path}; run: chmod {mode:o} {path}")
    try:
        require_owned_by_us(path, status)
    except KeyFileError as error:
        raise LedgerUnavailable(str(error)) from error


def log_path(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log of the database at ``path``."""
    return path.with_name(f"{path.name}-wal")


def sqlite_files(path: Path) -> dict[Path, FileId]:
    """Which files the open database at ``path``, its write-ahead log and its shared memory are.

    Raises :class:`LedgerUnavailable` where one belongs to another user, and :class:`LedgerMoved`
    where one is missing: another handle of this process goes on with one that was deleted.
    """
    found: dict[Path, FileId] = {}
    for part in (path, *_companions(path)):
        try:
            status = part.lstat()
        except FileNotFoundError:
            raise LedgerMoved(f"{part} was deleted while it was in use") from None
        require_private(part, status, mode=0o600)
        found[part] = FileId.of(status)
    return found


def require_in_place(files: dict[Path, FileId]) -> dict[Path, int]:
    """The sizes of ``files`` in bytes. Raises :class:`LedgerMoved` unless each is still at its
    path, under that name alone (device, inode, link count)."""
    sizes: dict[Path, int] = {}
    for path, expected in files.items():
        try:
            status = path.lstat()
        except OSError:
            raise LedgerMoved(f"{path} was moved or deleted while it was in use") from None
        if FileId.of(status) != expected:
            raise LedgerMoved(f"{path} was replaced while it was in use")
        if status.st_nlink != 1:
            raise LedgerMoved(f"{path} was given a second name (a hard link) while it was in use")
        sizes[path] = status.st_size
    return sizes


def _companions(path: Path) -> tuple[Path, Path]:
    """The write-ahead log and the shared memory of the database at ``path``."""
    return log_path(path), path.with_name(f"{path.name}-shm")


def _create_if_missing(path: Path) -> None:
    """Create an empty file that only its owner may use; leave one that exists alone."""
    if os.path.lexists(path):
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
