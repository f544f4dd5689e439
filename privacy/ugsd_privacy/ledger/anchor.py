"""The anchor: a file outside the ledger that exposes a ledger restored from a backup.

The file has 40 bytes: the number of leaves, and the hash of the last one. It is written after each
egress is committed, so it is never ahead of an honest ledger; after a crash or a power cut it may
be behind. A ledger that is shorter than its mark, or has another leaf there, is not the one that
was marked. If both are restored together, only a checkpoint that is stored elsewhere exposes it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.errors import LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.file_owners import remedy_of
from ugsd_privacy.files.reserved_files import FileId
from ugsd_privacy.ledger.files import require_in_place, require_private

__all__ = ["Anchor", "Mark"]

_SIZE_BYTES, _HASH_BYTES = 8, 32
_BYTES = _SIZE_BYTES + _HASH_BYTES


class Mark(NamedTuple):
    """The number of leaves, and the hash of the last one; zeros if there are none."""

    size: int = 0
    last: bytes = bytes(_HASH_BYTES)


class Anchor:
    """The file at ``path``, private to its owner; open from construction to :meth:`close`."""

    def __init__(self, path: Path) -> None:
        """Create the file without a mark if it does not exist.

        Raises :class:`LedgerUnavailable` if it cannot be used, or if other users may use it.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise LedgerUnavailable(
                f"{path} cannot be used: {error.strerror}: {remedy_of(error, path.parent)}"
            ) from error
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
        """Return the mark, or ``None`` if the file is new or damaged."""
        data = os.pread(self._descriptor, _BYTES + 1, 0)
        if len(data) != _BYTES:
            return None
        return Mark(int.from_bytes(data[:_SIZE_BYTES], "big"), data[_SIZE_BYTES:])

    def write(self, mark: Mark, *, durable: bool = False) -> None:
        """Replace the mark. It fits into one disk sector, so it is never written in part."""
        os.pwrite(self._descriptor, mark.size.to_bytes(_SIZE_BYTES, "big") + mark.last, 0)
        if durable:
            os.fsync(self._descriptor)

    def require_in_place(self) -> None:
        """Raise :class:`LedgerMoved` unless the open file is still the one at its path."""
        require_in_place(self._files)

    def is_in_place(self) -> bool:
        """Return whether the open file is still the one at its path."""
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
