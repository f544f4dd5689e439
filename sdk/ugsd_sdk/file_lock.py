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

__all__ = ["locked"]

_PATIENCE_S = 2.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among processes and threads with the file at ``path``, whose folder exists.

    Raises ``OSError`` where another process keeps the lock: a caption does not wait for one that
    was stopped while it held it.
    """
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    ends_s = monotonic() + _PATIENCE_S
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > ends_s:
                raise
            sleep(0.005)
        else:
            return
