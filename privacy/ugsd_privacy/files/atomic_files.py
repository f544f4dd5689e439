"""Files that are written whole or not at all, even after a crash or a power cut."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ugsd_privacy.errors import ExportFailed, FileLocked, LogTampered
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.file_lock import file_lock
from ugsd_privacy.files.file_owners import require_owned_by_us
from ugsd_privacy.files.key_files import sync_directory

__all__ = ["atomic_writer", "exclusive_folder", "is_temporary", "read_bounded", "write_atomically"]

_DRAFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}", re.DOTALL)
_STALE_S = 3600.0
"""A draft that was not written to for this long belongs to a process that has died."""


@contextmanager
def exclusive_folder(folder: Path, timeout_s: float) -> Iterator[None]:
    """Lock ``folder`` against other users of this function; create it if it is missing.

    On Windows, and on file systems that cannot lock a folder (NFS), there is no lock. Raises
    :class:`ExportFailed`, also if another process or thread holds the lock for ``timeout_s``.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder, timeout_s, is_folder=True, optional=True))
        except FileLocked as error:
            raise ExportFailed(str(error)) from error
        except OSError as error:
            raise ExportFailed(
                f"cannot lock {folder}: {error.strerror}; use another folder"
            ) from error
        yield


@contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a draft that replaces ``path`` at the end, unless an exception is raised.

    Creates the folder if needed, and deletes old drafts of ``path`` that a crash left behind.
    Raises :class:`ExportFailed` if the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_stale(path)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise ExportFailed(f"cannot write {path}: {error.strerror}") from error


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is a draft, of a running or of a dead process."""
    return _DRAFT.fullmatch(name) is not None


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path``, replacing the file. Raises as :func:`atomic_writer`."""
    with atomic_writer(path, mode=mode) as file:
        file.write(data)


def read_bounded(path: Path, max_bytes: int, *, ours: bool = False) -> bytes:
    """Return the bytes of ``path``.

    Raises :class:`LogTampered` if it is missing, larger than ``max_bytes``, or not a regular file
    (it never waits for a pipe), and :class:`KeyFileError` if it must be ``ours`` but belongs to
    another user.
    """
    try:
        return read_regular(path, max_bytes, check=require_owned_by_us if ours else None)
    except OSError as error:
        raise LogTampered(f"cannot read {path}: {error.strerror}") from None


def _drop_stale(path: Path) -> None:
    before_s = time.time() - _STALE_S
    with suppress(OSError), os.scandir(path.parent) as found:
        for entry in found:
            draft = _DRAFT.fullmatch(entry.name)
            if (
                draft is not None
                and draft["name"] == path.name
                and entry.is_file(follow_symlinks=False)
                and entry.stat(follow_symlinks=False).st_mtime < before_s
            ):
                Path(entry.path).unlink()
