"""Files that this process has open under locks, and that nothing else in it may open.

POSIX drops all advisory locks of a process on a file when the process closes any descriptor of that
file. So every path from a user is compared with these files before it is opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

__all__ = ["FileId", "free", "is_reserved", "reserve"]


class FileId(NamedTuple):
    """Identifies a file, whatever its name."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileId:
        """Return the identity of the file that has this ``status``."""
        return cls(status.st_dev, status.st_ino)


_lock = Lock()
_reserved: Counter[FileId] = Counter()


def reserve(files: Mapping[Path, FileId]) -> None:
    """Forbid all other code of this process to open ``files``, until :func:`free`."""
    with _lock:
        _reserved.update(files.values())


def free(files: Mapping[Path, FileId]) -> None:
    """Undo one call of :func:`reserve`."""
    with _lock:
        _reserved.subtract(files.values())
        for file in set(files.values()):
            if _reserved[file] <= 0:
                del _reserved[file]


def is_reserved(status: os.stat_result) -> bool:
    """Return whether the file with this ``status`` must not be opened."""
    return FileId.of(status) in _reserved
