"""The one SQLite handle that a process has on a ledger.

Every :class:`~ugsd_privacy.ledger.Ledger` of a process on the same file shares one
:class:`Database`: the connection that writes, the lock that admits one thread at a time, and the
identity of the open files.

**Before each frame** the caller calls :meth:`Database.require_in_place`: a ledger that was moved,
deleted, replaced or linked under a running process is no longer written.

**Fork.** A child must not inherit SQLite's records of its locks. So all connections are closed
before ``os.fork``, and opened again in parent and child when they are next used. If that is not
possible in time (another thread is in a transaction), the parent continues undisturbed and the
child refuses the ledger: it neither uses nor closes anything that it inherited.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, get_ident
from time import monotonic, sleep

from ugsd_privacy.errors import LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.reserved_files import FileId, free, reserve
from ugsd_privacy.forks import keep_for_good
from ugsd_privacy.ledger.files import log_path, require_in_place, sqlite_files
from ugsd_privacy.ledger.schema import prepare_schema
from ugsd_privacy.ledger.write_ahead_log import WriteAheadLog
from ugsd_privacy.slots import Slots

__all__ = ["Database", "held", "slices"]

_CLOSE_TIMEOUT_S = 1.0
_POLL_S = 0.005
_WAIT_SLICE_S = 0.05
_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "foreign_keys = ON",
    "secure_delete = ON",  # erased content is overwritten
    "fullfsync = ON",  # without it, Apple's fsync leaves data in the drive's cache
)


class Database:
    """The process' handle on the ledger at ``path``. ``handles.open_database`` creates it."""

    def __init__(self, path: Path, file: FileId) -> None:
        self.path = path
        self._file = file
        self._turn = Slots()
        self._entered: dict[int, Lock] = {}
        """The holder with which each thread entered :meth:`exclusive` last."""
        self._pausing = Lock()
        """Holds the turn during a fork."""
        self._pausing.acquire()
        self._connection: sqlite3.Connection | None = None
        self._files = {path: file}
        """Files that must be in place: the database, and its companions while it is open."""
        self._size = 0
        """Size in bytes of the database file at the last check; it never shrinks."""
        self._log: WriteAheadLog | None = None
        self._reservation = weakref.finalize(self, free, {})
        self._readers: set[sqlite3.Connection] = set()
        self._users = 0
        """Number of ledgers that opened it and have not closed it."""
        self._timeout_ms = -1
        self._synchronous = ""
        self._is_inherited = False
        """Whether this process is a child that inherited the handle in use."""

    @contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        """Yield the connection that writes, to one thread at a time; wait at most ``timeout_s``.

        The time covers waiting for other threads; SQLite's busy timeout, for other processes, is
        set to the remaining time. A transaction that the block leaves open is rolled back, at the
        latest when the next block begins. Raises :class:`LedgerUnavailable` if the time was not
        enough, or in a child that inherited the handle, and :class:`LedgerMoved`.
        """
        ends_s = monotonic() + timeout_s
        # The frame of a generator that an interrupt left suspended may be kept by a traceback. So a
        # thread that enters again has left whatever block it entered before.
        left = self._entered.get(get_ident())
        if left is not None:
            self._turn.release(left)
        self._entered[get_ident()] = holder = Lock()
        with holder, held(self._turn, holder, timeout_s):
            connection = self._connected(ends_s)
            if connection.in_transaction:  # of a block that an interrupt kept from ending it
                connection.execute("ROLLBACK")
            self.set_busy_timeout(max(ends_s - monotonic(), 0))
            try:
                yield connection
            finally:
                # Without its turn, the transaction is that of another block.
                if self._turn.is_holder(holder) and connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                if self._entered.get(get_ident()) is holder:
                    del self._entered[get_ident()]

    @property
    def entered(self) -> Lock | None:
        """What stands for the block of :meth:`exclusive` that this thread entered last."""
        return self._entered.get(get_ident())

    def set_busy_timeout(self, seconds: float) -> None:
        """Let each SQLite statement wait at most ``seconds`` for other processes."""
        timeout_ms = int(1000 * seconds)
        if timeout_ms != self._timeout_ms and self._connection is not None:
            self._timeout_ms = -1  # unknown if this is interrupted
            self._connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
            self._timeout_ms = timeout_ms

    def set_synchronous(self, mode: str) -> None:
        """Choose how durable the next commits are: ``FULL`` or ``NORMAL``."""
        if mode != self._synchronous and self._connection is not None:
            self._synchronous = ""
            self._connection.execute(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    @contextmanager
    def reader(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        """Yield a separate connection that only reads; writers do not wait for it."""
        ends_s = monotonic() + timeout_s
        opened: list[sqlite3.Connection] = []
        try:
            with self.exclusive(timeout_s):  # a fork waits for readers: none may start during one
                self.require_in_place()
                opened.append(_connect(self.path, max(ends_s - monotonic(), 0)))
                self._readers.update(opened)
            connection = opened[0]
            connection.execute("PRAGMA query_only = ON")
            yield connection
        finally:
            for each in opened:
                each.close()
            self._readers.difference_update(opened)

    def require_in_place(self) -> None:
        """Raise :class:`LedgerMoved` unless the open files are still those at their paths,
        and the database has not shrunk."""
        size = require_in_place(self._files)[self.path]
        if size < self._size:
            raise LedgerMoved(f"{self.path} was cut short while it was in use")
        self._size = size

    def require_committed(self, content: bytes) -> None:
        """Raise :class:`LedgerMoved` unless the next process that opens the ledger would find the
        latest commit, which wrote ``content``. The lock is held."""
        if self._log is not None:
            self._log.require_committed(content)

    def is_in_place(self) -> bool:
        """Return whether the open files are still those at their paths."""
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
        """Count one more user, and open the connection for the first one.

        Raises like :meth:`exclusive`, and :class:`LedgerCorrupt`.
        """
        ends_s = monotonic() + timeout_s
        with (holder := Lock()), held(self._turn, holder, timeout_s):
            self._connected(ends_s, create=create)
            self._users += 1

    def release(self) -> None:
        """Count one user less, and close the connection after the last one.

        If another thread keeps it busy for more than a second, it stays open: closing must not
        take long, and committed data is on disk already.
        """
        with (holder := Lock()), self._turn.held(holder, slices(_CLOSE_TIMEOUT_S)) as is_in_time:
            if is_in_time:
                self._users -= 1
                if self._users <= 0 and not self._is_inherited:
                    self._disconnect()

    def _connected(self, ends_s: float, *, create: bool = False) -> sqlite3.Connection:
        """Return the connection, and open it first if necessary; the lock is held."""
        self.require_own()
        if self._connection is not None:
            return self._connection
        self.require_in_place()  # the file must be the same after it was closed for a fork
        connection = _connect(self.path, max(ends_s - monotonic(), 0))
        try:
            prepare_schema(connection, create=create, ends_s=ends_s)
            self.require_in_place()  # the file was not replaced meanwhile
            files = sqlite_files(self.path)
            log = WriteAheadLog(log_path(self.path))
        except BaseException:
            connection.close()
            raise
        self._timeout_ms, self._synchronous = -1, ""
        self._connection, self._files, self._log = connection, files, log
        reserve(files)
        # Also for a handle that nobody closes, whose descriptors end with it.
        self._reservation = weakref.finalize(self, free, files)
        self._reservation.atexit = False
        return connection

    def _disconnect(self) -> None:
        """Close the connection; the lock is held. If the open file is no longer at its path, SQLite
        does not touch the files there."""
        connection, self._connection = self._connection, None
        log, self._log = self._log, None
        self._files = {self.path: self._file}
        if connection is not None:
            connection.close()  # SQLite may delete the companions now
            self._reservation()
        if log is not None:
            log.close()

    def pause(self, ends_s: float) -> bool:
        """Before a fork, lock out all other threads and close; return whether that succeeded."""
        if not self._turn.acquire(self._pausing, slices(ends_s - monotonic())):
            return False
        while self._readers and monotonic() < ends_s:
            sleep(_POLL_S)
        if self._readers:
            self._turn.release(self._pausing)
            return False
        with suppress(sqlite3.Error):
            self._disconnect()
        return True

    def resume(self) -> None:
        """Release the lock after the fork, in the parent."""
        self._turn.release(self._pausing)

    def begin_in_child(self) -> None:
        """Release the lock after the fork, in the child, where nobody waits for it."""
        self._turn, self._entered = Slots(), {}

    def inherit(self) -> None:
        """Mark the handle as the parent's, in a child that was forked while it was in use."""
        self._turn, self._entered = Slots(), {}
        self._is_inherited = True
        for connection in (self._connection, *self._readers):
            if connection is not None:
                keep_for_good(connection)
        self._connection = None
        self._readers = set()


@contextmanager
def held(slots: Slots, holder: Lock, timeout_s: float) -> Iterator[None]:
    """Hold one of ``slots``. Raises :class:`LedgerUnavailable` if other threads hold them for
    ``timeout_s``."""
    with slots.held(holder, slices(timeout_s)) as is_in_time:
        if not is_in_time:
            raise LedgerUnavailable("the ledger is busy: another thread is using it; try again")
        yield


def slices(timeout_s: float) -> Iterator[float]:
    """Yield the timeouts of short waits that together take ``timeout_s``, at least one of them."""
    ends_s = monotonic() + max(timeout_s, 0)
    while True:
        yield max(min(ends_s - monotonic(), _WAIT_SLICE_S), 0)
        if monotonic() >= ends_s:
            return


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
    """Decode a text leniently: a damaged one must differ from its record, not stop the reader."""
    return raw.decode(errors="replace")
