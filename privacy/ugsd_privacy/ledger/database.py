"""One SQLite handle per ledger and process, whoever in the process uses it.

Every :class:`~ugsd_privacy.ledger.Ledger` of a process that names the same file shares one
:class:`Database`: the connection that writes, the lock that lets one thread in at a time, and the
identity of the files that were opened.

**Before each frame** the caller asks :meth:`Database.require_in_place`: a ledger that was moved,
deleted, replaced or linked under a running process is not written any more.

**Fork.** SQLite's own bookkeeping of locks must not be inherited by a child, so all connections are
closed before ``os.fork`` and opened again, on either side, when they are next used. Where that
cannot be had in time (another thread is in a transaction), the parent goes on undisturbed and the
child refuses the ledger: nothing that was inherited is used or closed there.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from ugsd_privacy.errors import LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.reserved_files import FileId, free, reserve
from ugsd_privacy.forks import keep_for_good
from ugsd_privacy.ledger.files import log_path, require_in_place, sqlite_files
from ugsd_privacy.ledger.schema import prepare_schema
from ugsd_privacy.ledger.write_ahead_log import WriteAheadLog

__all__ = ["Database", "held"]

_CLOSE_TIMEOUT_S = 1.0
_POLL_S = 0.005
_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "foreign_keys = ON",
    "secure_delete = ON",  # what is erased is overwritten
    "fullfsync = ON",  # without it, Apple's fsync leaves data in the drive's cache
)


class Database:
    """The process' handle on the ledger at ``path``; ``handles.open_database`` makes it."""

    def __init__(self, path: Path, file: FileId) -> None:
        self.path = path
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._files = {path: file}
        """What must be in place: the database alone, and while it is open its companions too."""
        self._size = 0
        """Bytes of the database file when it was last seen; it never shrinks."""
        self._log: WriteAheadLog | None = None
        self._readers: set[sqlite3.Connection] = set()
        self._users = 0
        """How many opened it and did not close it yet."""
        self._timeout_ms = -1
        self._synchronous = ""
        self._is_inherited = False
        """Whether this is a child of the process that had it open at the fork."""

    @contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        """The connection that writes, for one thread at a time; waits for ``timeout_s`` at most.

        That time counts for other threads, and what is left of it for other processes: SQLite's
        busy timeout is set to it. Raises :class:`LedgerUnavailable` where it was not enough, or in
        a child that inherited the handle, and :class:`LedgerMoved`.
        """
        ends_s = monotonic() + timeout_s
        with held(self._lock, timeout_s):
            connection = self._connected(ends_s)
            self.set_busy_timeout(max(ends_s - monotonic(), 0))
            yield connection

    def set_busy_timeout(self, seconds: float) -> None:
        """Let SQLite wait for other processes for ``seconds`` at most, from each statement on."""
        timeout_ms = int(1000 * seconds)
        if timeout_ms != self._timeout_ms and self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
            self._timeout_ms = timeout_ms

    def set_synchronous(self, mode: str) -> None:
        """Choose how durable the next commits are: ``FULL`` or ``NORMAL``."""
        if mode != self._synchronous and self._connection is not None:
            self._connection.execute(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    @contextmanager
    def reader(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        """A connection of its own that only reads; writers do not wait for it."""
        ends_s = monotonic() + timeout_s
        with self.exclusive(timeout_s):  # a fork waits for readers, so none may begin during one
            self.require_in_place()
            connection = _connect(self.path, max(ends_s - monotonic(), 0))
            self._readers.add(connection)
        try:
            with closing(connection):
                connection.execute("PRAGMA query_only = ON")
                yield connection
        finally:
            self._readers.discard(connection)

    def require_in_place(self) -> None:
        """Raise :class:`LedgerMoved` unless the files that are open are still those at their
        paths, and the database is no shorter than it was."""
        size = require_in_place(self._files)[self.path]
        if size < self._size:
            raise LedgerMoved(f"{self.path} was cut short while it was in use")
        self._size = size

    def require_committed(self, content: bytes) -> None:
        """Raise :class:`LedgerMoved` unless the latest commit, which wrote ``content``, is where
        whoever opens the ledger next will find it. The lock is held."""
        if self._log is not None:
            self._log.require_committed(content)

    def is_in_place(self) -> bool:
        """Whether what is open is still what lies at its path."""
        try:
            self.require_in_place()
        except LedgerMoved:
            return False
        return not self._is_inherited

    def require_own(self) -> None:
        """Raise :class:`LedgerUnavailable` in a child that inherited the handle in use."""
        if self._is_inherited:
            raise LedgerUnavailable(
                "this process was forked while its parent was writing the ledger, so it must not "
                "use it: start it by spawn, or fork before the first caption"
            )

    def acquire(self, timeout_s: float, *, create: bool) -> None:
        """Count one more user; open the connection for the first one. Raises as
        :meth:`exclusive`, and :class:`LedgerCorrupt`."""
        ends_s = monotonic() + timeout_s
        with held(self._lock, timeout_s):
            self._connected(ends_s, create=create)
            self._users += 1

    def release(self) -> None:
        """Count one user less, and close the connection after the last one.

        Where another thread keeps it busy for longer than a second, it stays open: closing must
        not take long, and what was committed is on disk already.
        """
        if not self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            return
        try:
            self._users -= 1
            if self._users <= 0 and not self._is_inherited:
                self._disconnect()
        finally:
            self._lock.release()

    def _connected(self, ends_s: float, *, create: bool = False) -> sqlite3.Connection:
        """The connection, opened if it is not; the lock is held."""
        self.require_own()
        if self._connection is not None:
            return self._connection
        self.require_in_place()  # one that was closed for a fork must be the same file again
        connection = _connect(self.path, max(ends_s - monotonic(), 0))
        try:
            prepare_schema(connection, create=create)
            self.require_in_place()  # no other file came in between
            files = sqlite_files(self.path)
            log = WriteAheadLog(log_path(self.path))
        except BaseException:
            connection.close()
            raise
        self._connection, self._files, self._log = connection, files, log
        reserve(files)
        self._timeout_ms, self._synchronous = -1, ""
        return connection

    def _disconnect(self) -> None:
        """Close the connection; the lock is held. SQLite leaves the files at the path alone where
        the one that it has open is not there any more."""
        connection, self._connection = self._connection, None
        log, self._log = self._log, None
        files, self._files = self._files, {self.path: self._file}
        if connection is not None:
            connection.close()  # SQLite may delete the companions now
            free(files)
        if log is not None:
            log.close()

    def pause(self, ends_s: float) -> bool:
        """Before a fork: keep every other thread out and close, or say that it cannot be done."""
        if not self._lock.acquire(timeout=max(ends_s - monotonic(), 0)):
            return False
        while self._readers and monotonic() < ends_s:
            sleep(_POLL_S)
        if self._readers:
            self._lock.release()
            return False
        with suppress(sqlite3.Error):
            self._disconnect()
        return True

    def resume(self) -> None:
        """After a fork that it was paused for, on either side."""
        self._lock.release()

    def inherit(self) -> None:
        """Mark the handle as the parent's, in a child that was forked while this was in use."""
        self._lock = threading.Lock()
        self._is_inherited = True
        for connection in (self._connection, *self._readers):
            if connection is not None:
                keep_for_good(connection)
        self._connection = None
        self._readers = set()


@contextmanager
def held(lock: threading.Lock, timeout_s: float) -> Iterator[None]:
    """Hold ``lock``. Raises :class:`LedgerUnavailable` if another thread keeps it for
    ``timeout_s``."""
    if not lock.acquire(timeout=max(timeout_s, 0)):
        raise LedgerUnavailable("the ledger is busy: another thread is using it; try again")
    try:
        yield
    finally:
        lock.release()


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,  # the lock lets one thread in at a time
    )
    connection.text_factory = _decoded
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _decoded(raw: bytes) -> str:
    """A damaged text is to differ from its record, not to stop the reader."""
    return raw.decode(errors="replace")
