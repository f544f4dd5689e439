"""Create, check and identify the files of a ledger.

SQLite uses POSIX advisory locks. A process loses its locks on a file when it closes *any*
descriptor of that file ("How To Corrupt An SQLite Database File", section 2.2). So nothing here
opens a file that SQLite may have open; files are inspected only by path. The one exception is a
database file that the call itself has just created: nothing can have opened it before.
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
    """Create the database file and its directory if they are missing and ``create`` is true; return
    the file's identity.

    Raises :class:`LedgerCorrupt` if the file is missing or empty and ``create`` is false, and
    :class:`LedgerUnavailable` if it cannot be used, or if other users may use it.
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
            "put it into a folder that you may write to"
        ) from error
    except KeyFileError as error:
        raise LedgerUnavailable(str(error)) from error
    if not stat.S_ISREG(file.st_mode):
        raise LedgerUnavailable(f"{path} is not a regular file")
    require_private(path.parent, directory, mode=0o700)
    require_private(path, file, mode=0o600)
    for part in _companions(path):
        if os.path.lexists(part):  # checked before SQLite, run by root, changes its owner
            require_private(part, part.lstat(), mode=0o600)
    if file.st_nlink != 1:
        raise LedgerUnavailable(
            f"{path} has {file.st_nlink} hard links, but an SQLite database must have only one; "
            "delete the others, or replace it by a copy"
        )
    return FileId.of(file)


def require_private(path: Path, status: os.stat_result, *, mode: int) -> None:
    """Raise :class:`LedgerUnavailable` unless the file or folder at ``path``, with this ``status``,
    belongs to this process' user and no other user may use it. ``mode`` is the mode to suggest."""
    if os.name == "posix" and status.st_mode & 0o077:
        raise LedgerUnavailable(f"others may use {path}; run: chmod {mode:o} {path}")
    try:
        require_owned_by_us(path, status)
    except KeyFileError as error:
        raise LedgerUnavailable(str(error)) from error


def log_path(path: Path) -> Path:
    """Return the path of the write-ahead log of the database at ``path``."""
    return path.with_name(f"{path.name}-wal")


def sqlite_files(path: Path) -> dict[Path, FileId]:
    """Return the identities of the open database at ``path``, its write-ahead log and its shared
    memory.

    Raises :class:`LedgerUnavailable` if one belongs to another user, and :class:`LedgerMoved` if
    one is missing: then another handle of this process still uses the deleted file.
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
    """Return the sizes of ``files`` in bytes. Raises :class:`LedgerMoved` unless each is still at
    its path and has no other name (device, inode, link count)."""
    sizes: dict[Path, int] = {}
    for path, expected in files.items():
        try:
            status = path.lstat()
        except OSError:
            raise LedgerMoved(f"{path} was moved or deleted while it was in use") from None
        if FileId.of(status) != expected:
            raise LedgerMoved(f"{path} was replaced while it was in use")
        if status.st_nlink != 1:
            raise LedgerMoved(f"{path} was given another hard link while it was in use")
        sizes[path] = status.st_size
    return sizes


def _companions(path: Path) -> tuple[Path, Path]:
    """Return the paths of the write-ahead log and the shared memory."""
    return log_path(path), path.with_name(f"{path.name}-shm")


def _create_if_missing(path: Path) -> None:
    """Create an empty file that only its owner may use; do nothing if it exists."""
    if os.path.lexists(path):
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
