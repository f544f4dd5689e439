"""Files that are there whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ugsd_privacy.errors import ExportFailed, LogTampered
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.key_files import require_owned_by_us, sync_directory

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_writer", "exclusive_folder", "is_temporary", "read_bounded", "write_atomically"]

_DRAFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}", re.DOTALL)
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_STALE_S = 3600.0
"""No draft is written to for so long, unless its writer died."""


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process that asks for it has ``folder``, which is made where need be.

    Where the system or the file system has no ``flock`` of folders (Windows, NFS) it waits for
    nobody. Raises :class:`ExportFailed`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ExportFailed(f"cannot write in {folder}: {error.strerror}") from error
    try:
        if descriptor is not None:
            _lock(descriptor, folder)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` at the end, unless something is raised.

    Its folder is made where need be; drafts of ``path`` that a crash left there long ago go.
    Raises :class:`ExportFailed` where it cannot be written.
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
    """Whether a file of that name is being written, or was when its writer died."""
    return _DRAFT.fullmatch(name) is not None


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``path`` in place of what it held. Raises as :func:`replacing`."""
    with atomic_writer(path, mode=mode) as file:
        file.write(data)


def read_bounded(path: Path, max_bytes: int, *, ours: bool = False) -> bytes:
    """The bytes of ``path``. Raises :class:`LogTampered` for a file that is missing or larger, and
    for what is no regular file, which is not waited for; :class:`KeyFileError` where it must be
    ``ours`` and belongs to another user."""
    try:
        return read_regular(path, max_bytes, check=require_owned_by_us if ours else None)
    except OSError as error:
        raise LogTampered(f"cannot read {path}: {error.strerror}") from None


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ExportFailed(f"cannot lock {folder}: {error.strerror}; name another") from error


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
