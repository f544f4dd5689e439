"""The lock between processes and threads, for a file or a folder: see docs/decisions/034.

It is the system's advisory ``flock``, so the locks of a process that dies are released. Windows has
no such lock: if two processes write at once there, the last one wins.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from ugsd_privacy.errors import FileLocked

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["file_lock"]

_RETRY_S = 0.005
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""The errors of file systems without locks, such as NFS for a folder."""


@contextmanager
def file_lock(
    path: Path, timeout_s: float, *, is_folder: bool = False, optional: bool = False
) -> Iterator[None]:
    """Hold the lock of ``path`` against all other processes and threads.

    For a file, ``path`` with the suffix ``.lock`` is created and locked. The file itself may be
    replaced meanwhile, and the holder may delete the ``.lock`` file as its last step. A folder
    (``is_folder``) is locked itself, and no file is created in it. ``optional`` continues without a
    lock if the file system has none.

    Raises :class:`FileLocked` if another process or thread holds the lock for ``timeout_s``; it may
    be suspended. Raises ``OSError`` if the lock is impossible.
    """
    if fcntl is None:
        yield
        return
    lock = path if is_folder else path.with_suffix(".lock")
    flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT
    try:
        descriptor = _locked_descriptor(lock, flags, monotonic() + timeout_s, optional=optional)
    except BlockingIOError:
        raise FileLocked(
            f"another process or thread has held the lock of {path} for {timeout_s:g} s: wait "
            "until it has ended, or end it, and try again"
        ) from None
    try:
        yield
    finally:
        _release(descriptor)


def _locked_descriptor(lock: Path, flags: int, ends_s: float, *, optional: bool) -> int:
    while True:
        descriptor = os.open(lock, flags, 0o600)
        try:
            has_lock = _wait(descriptor, ends_s, optional=optional)
            if not has_lock or _is_at(lock, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the last holder deleted this file, and others lock a new one


def _wait(descriptor: int, ends_s: float, *, optional: bool) -> bool:
    """Wait for the lock; return False if the file system has no locks."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remaining_s = ends_s - monotonic()
            if remaining_s <= 0:
                raise
            sleep(min(_RETRY_S, remaining_s))
        except OSError as error:
            if optional and error.errno in _NO_LOCKS:
                return False
            raise
        else:
            return True


def _release(descriptor: int) -> None:
    try:
        # A process forked meanwhile shares the descriptor, and would keep the lock.
        with suppress(OSError):  # there was none to release
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _is_at(lock: Path, descriptor: int) -> bool:
    """Return whether the locked file is still at ``lock``, where others would lock it."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
