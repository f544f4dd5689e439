"""A mark outside the ledger of how far it had come, so that a restored backup is found.

A file of 40 bytes: the number of leaves, and the hash of the last one. It is written after each
passage was committed, so it never runs ahead of an honest ledger; a crash or a power cut may leave
it behind. A ledger that is shorter than its mark, or has another leaf there, is not the one that
the mark was made for. Whoever restores both together is found only by a checkpoint kept elsewhere.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.errors import LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.reserved_files import FileId
from ugsd_privacy.ledger.files import require_in_place, require_private

__all__ = ["Anchor", "Mark"]

_SIZE_BYTES, _HASH_BYTES = 8, 32
_BYTES = _SIZE_BYTES + _HASH_BYTES


class Mark(NamedTuple):
    """So many leaves, the last of which has this hash; zeros where there is none."""

    size: int = 0
    last: bytes = bytes(_HASH_BYTES)


class Anchor:
    """The file at ``path``, its owner's alone. Open from construction to :meth:`close`."""

    def __init__(self, path: Path) -> None:
        """Make the file if it is not there, with no mark.

        Raises :class:`LedgerUnavailable` where it cannot be used, or others may.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise LedgerUnavailable(f"cannot open {path}; check its permissions") from error
        status = os.fstat(self._descriptor)
        self._files = {path: FileId.of(status)}
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise LedgerUnavailable(f"{path} is not a regular file")
        try:
            require_private(path, status, mode=0o600)
        except LedgerUnavailable:
            self.close()
            raise

    def read(self) -> Mark | None:
        """The mark, or ``None`` where the file was made anew or damaged."""
        data = os.pread(self._descriptor, _BYTES + 1, 0)
        if len(data) != _BYTES:
            return None
        return Mark(int.from_bytes(data[:_SIZE_BYTES], "big"), data[_SIZE_BYTES:])

    def write(self, mark: Mark, *, durable: bool = False) -> None:
        """Replace the mark; within one sector of a disk, so never in part."""
        os.pwrite(self._descriptor, mark.size.to_bytes(_SIZE_BYTES, "big") + mark.last, 0)
        if durable:
            os.fsync(self._descriptor)

    def require_in_place(self) -> None:
        """Raise :class:`LedgerMoved` unless the file that is open is still the one at its path."""
        require_in_place(self._files)

    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        try:
            self.require_in_place()
        except LedgerMoved:
            return False
        return True

    def close(self) -> None:
        """Close the file. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
