"""A lock beside a file, for those who read it, think, and write it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

try:
    import fcntl
except ImportError:  # no such lock on Windows: of two processes the last one counts
    fcntl = None  # type: ignore[assignment]

__all__ = ["file_lock"]

_PATIENCE_S = 2.0
_RETRY_S = 0.005


@contextmanager
def file_lock(path: Path, *, timeout_s: float | None = None) -> Iterator[None]:
    """Alone among processes and threads with the file at ``path``, whose folder exists.

    Raises ``BlockingIOError`` if another process or thread keeps the lock for ``timeout_s``, two
    seconds if not given: it may have been stopped while it held it. Raises ``OSError`` if there can
    be no lock.
    """
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, _PATIENCE_S if timeout_s is None else timeout_s)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, timeout_s: float) -> None:
    ends_s = monotonic() + timeout_s
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = ends_s - monotonic()
            if left_s <= 0:
                raise
            sleep(min(_RETRY_S, left_s))
        else:
            return
