"""Read the write-ahead log on disk as the next process that opens the ledger would read it.

SQLite trusts its shared index of the log and does not read the file again. If the file's content is
replaced in place (a backup is copied over it, or the file is emptied), later commits are written
where no other process would find them. So after each commit the log is followed on disk: from its
header, over the frames with its salts, to the frame with the committed content (SQLite's "WAL-mode
File Format").

This is the only file that is opened beside SQLite, which takes no locks on it. The database and its
shared memory are never opened.
"""

from __future__ import annotations

import os
from pathlib import Path

from ugsd_privacy.errors import LedgerMoved

__all__ = ["WriteAheadLog"]

_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_MAGIC = {0x377F0682, 0x377F0683}
_SALTS = slice(16, 24)
_FRAME_SALTS = slice(8, 16)
_COMMIT = slice(4, 8)
_NO_COMMIT = bytes(4)
_MAX_RESTARTS = 4096
"""How often other processes may restart the log between two of our commits. Each restart increments
the first salt, so a log from an earlier time has a lower one."""


class WriteAheadLog:
    """The log at ``path``, open from construction to :meth:`close`. Not safe between threads."""

    def __init__(self, path: Path) -> None:
        """Open the log. Raises ``OSError``."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._salts = b""
        self._end = _HEADER_BYTES
        """The end of the latest commit that was seen."""
        self._last = b""
        """Header of the frame that ends there."""
        self._follow(b"")

    def require_committed(self, content: bytes) -> None:
        """Raise :class:`LedgerMoved` unless a process that opens the ledger now would find the
        latest commit, whose pages contain ``content``."""
        if not self._follow(content):
            raise LedgerMoved(f"{self._path} was overwritten while it was in use")

    def close(self) -> None:
        """Close the file. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _follow(self, content: bytes) -> bool:
        """Read on to the end. Return whether the known part is still there, with ``content`` after
        it."""
        header = os.pread(self._descriptor, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES or int.from_bytes(header[:4], "big") not in _MAGIC:
            return False
        page_bytes = int.from_bytes(header[8:12], "big")
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        is_same = header[_SALTS] == self._salts
        if is_same:
            at = self._end
            if self._last and self._last != self._head_at(at - frame_bytes):
                return False
        elif self._salts and not _is_later(header[_SALTS], self._salts):
            return False
        else:
            is_same, at = not self._salts, _HEADER_BYTES
        self._salts = header[_SALTS]
        is_found = self._scan(at, frame_bytes, content)
        # If another process restarted the log, our commit is in the database already.
        return is_found or not is_same

    def _scan(self, at: int, frame_bytes: int, content: bytes) -> bool:
        """Read the commits from ``at`` on. Return whether ``content`` is in one of them."""
        self._end, self._last = at, self._last if at > _HEADER_BYTES else b""
        is_found = is_committed = False
        while True:
            frame = os.pread(self._descriptor, frame_bytes, at)
            if len(frame) < frame_bytes or frame[_FRAME_SALTS] != self._salts:
                return is_committed
            at += frame_bytes
            is_found = is_found or content in frame[_FRAME_HEADER_BYTES:]
            if frame[_COMMIT] != _NO_COMMIT:
                self._end, self._last = at, frame[:_FRAME_HEADER_BYTES]
                is_committed = is_committed or is_found

    def _head_at(self, at: int) -> bytes:
        return os.pread(self._descriptor, _FRAME_HEADER_BYTES, at)


def _is_later(salts: bytes, known: bytes) -> bool:
    """Return whether a log with these salts was started after the known one."""
    first, before = (int.from_bytes(each[:4], "big") for each in (salts, known))
    return 0 < (first - before) % 2**32 <= _MAX_RESTARTS
