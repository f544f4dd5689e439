"""Files that this process has open under locks, and that nothing else in it may open.

POSIX drops all of a process' advisory locks on a file when the process closes any descriptor of it.
So a path that a person names is compared with these before it is opened.
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
    """Which file is at a path: the same numbers mean the same file, whatever its name."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileId:
        """The identity in what ``stat`` returned."""
        return cls(status.st_dev, status.st_ino)


_lock = Lock()
_reserved: Counter[FileId] = Counter()


def reserve(files: Mapping[Path, FileId]) -> None:
    """Keep everything else in this process from opening ``files``, until :func:`free`."""
    with _lock:
        _reserved.update(files.values())


def free(files: Mapping[Path, FileId]) -> None:
    """Allow what one call of :func:`reserve` forbade."""
    with _lock:
        _reserved.subtract(files.values())
        for file in set(files.values()):
            if _reserved[file] <= 0:
                del _reserved[file]


def is_reserved(status: os.stat_result) -> bool:
    """Whether the file with this ``status`` must not be opened."""
    return FileId.of(status) in _reserved
