"""Reads files that somebody else may have written: only regular files, and only up to a limit.

Every failure is an :class:`OSError` whose ``strerror`` is a plain sentence, so that callers turn it
into their own package's error in the same way as for a missing file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ugsd_privacy.files.reserved_files import is_reserved

__all__ = ["MAX_TEXT_BYTES", "open_regular", "read_regular"]

MAX_TEXT_BYTES = 4 * 2**20
"""Enough for every description, table and vocabulary of a model; the largest bundled one has
20 kB."""


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = True) -> BinaryIO:
    """Open ``path`` for reading bytes.

    Raises :class:`OSError` if it is missing or unreadable, and if it is a folder, pipe, socket or
    device; these are neither waited for nor read.
    """
    extra = getattr(os, "O_NONBLOCK", 0) | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0))

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | extra)

    try:
        # Checked before, because opening a device can have an effect, and again after opening.
        _require_regular(Path(path).stat(follow_symlinks=follow_links), path)
        file = open(path, "rb", opener=opener)  # noqa: SIM115  # Path.open has no opener
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "no file can have this name", os.fspath(path)) from error
    try:
        _require_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(
    path: str | os.PathLike[str],
    max_bytes: int,
    *,
    follow_links: bool = True,
    check: Callable[[Path, os.stat_result], None] | None = None,
) -> bytes:
    """Return all bytes of ``path``.

    Raises :class:`OSError` as :func:`open_regular` does, and if the file is larger than
    ``max_bytes``; at most one byte more than that is read.

    ``check`` is called with the path and the status of the opened file, and may raise.
    """
    with open_regular(path, follow_links=follow_links) as file:
        status = os.fstat(file.fileno())
        if check is not None:
            check(Path(path), status)
        size = status.st_size
        data = file.read(min(size, max_bytes) + 1)
        if size < len(data) <= max_bytes:  # it grew, or is in /proc, where files have no size
            data += file.read(max_bytes + 1 - len(data))
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes", os.fspath(path))
    return data


def _require_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a file", os.fspath(path))
    if is_reserved(status):
        raise OSError(errno.EBUSY, "it is a ledger that this process has open", os.fspath(path))
