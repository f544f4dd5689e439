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
from weakref import WeakValueDictionary

from ugsd_privacy.errors import LedgerMoved, LedgerUnavailable
from ugsd_privacy.forks import call_around_forks, keep_for_good
from ugsd_privacy.ledger.files import FileId, prepare_files, require_in_place, sqlite_files
from ugsd_privacy.ledger.schema import prepare_schema

__all__ = ["Database", "open_database"]

_FORK_TIMEOUT_S = 0.5
"""How long a fork waits for transactions and readers of other threads."""
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
    """The process' handle on the ledger at ``path``. Made by :func:`open_database`."""

    def __init__(self, path: Path, file: FileId) -> None:
        self.path = path
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._files = {path: file}
        """What must be in place: the database alone, and while it is open its companions too."""
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
        with _held(self._lock, timeout_s):
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
        paths."""
        require_in_place(self._files)

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
        with _held(self._lock, timeout_s):
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
        except BaseException:
            connection.close()
            raise
        self._connection, self._files = connection, files
        self._timeout_ms, self._synchronous = -1, ""
        return connection

    def _disconnect(self) -> None:
        """Close the connection; the lock is held. SQLite leaves the files at the path alone where
        the one that it has open is not there any more."""
        connection, self._connection = self._connection, None
        self._files = {self.path: self._file}  # SQLite may delete its companions now
        if connection is not None:
            connection.close()

    def _pause(self, ends_s: float) -> bool:
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

    def _resume(self) -> None:
        """After a fork that it was paused for, on either side."""
        self._lock.release()

    def _inherit(self) -> None:
        """Mark the handle as the parent's, in a child that was forked while this was in use."""
        self._lock = threading.Lock()
        self._is_inherited = True
        for connection in (self._connection, *self._readers):
            if connection is not None:
                keep_for_good(connection)
        self._connection = None
        self._readers = set()


def open_database(path: Path, timeout_s: float, *, create: bool) -> Database:
    """The process' handle on the ledger at ``path``, counted as one more user's.

    Waits for ``timeout_s`` at most. Raises :class:`LedgerUnavailable` or :class:`LedgerCorrupt`,
    also where it is missing or empty and not to be created.
    """
    return _REGISTRY.open(path, timeout_s, create=create)


class _Registry:
    """The handles of this process, by path and file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: WeakValueDictionary[tuple[Path, FileId], Database] = WeakValueDictionary()
        self._paused: list[Database] = []
        self._is_watching = False
        self._is_held = False

    def open(self, path: Path, timeout_s: float, *, create: bool) -> Database:
        ends_s = monotonic() + timeout_s
        with _held(self._lock, timeout_s):
            self._watch_forks()
            path = path.parent.resolve() / path.name
            file = prepare_files(path, create=create)
            database = self._open.get((path, file))
            if database is None or not database.is_in_place():
                self._refuse_inherited(file)
                database = self._open[path, file] = Database(path, file)
            database.acquire(max(ends_s - monotonic(), 0), create=create)
            return database

    def _refuse_inherited(self, file: FileId) -> None:
        """SQLite knows files by their numbers: a new connection would share the parent's locks."""
        for (_, known), database in self._open.items():
            if known == file:
                database.require_own()

    def _watch_forks(self) -> None:
        if self._is_watching:
            return
        self._is_watching = True
        call_around_forks(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._begin_in_child,
        )

    def _before_fork(self) -> None:
        ends_s = monotonic() + _FORK_TIMEOUT_S
        self._is_held = self._lock.acquire(timeout=_FORK_TIMEOUT_S)
        self._paused = [each for each in list(self._open.values()) if each._pause(ends_s)]

    def _after_fork(self) -> None:
        paused, self._paused = self._paused, []
        for database in paused:
            database._resume()
        if self._is_held:
            self._lock.release()
        self._is_held = False

    def _begin_in_child(self) -> None:
        paused = list(self._paused)
        if not self._is_held:
            self._lock = threading.Lock()
        self._after_fork()
        for database in list(self._open.values()):
            if not any(database is each for each in paused):
                database._inherit()


_REGISTRY = _Registry()


@contextmanager
def _held(lock: threading.Lock, timeout_s: float) -> Iterator[None]:
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
