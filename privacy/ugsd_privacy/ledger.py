"""The durable store: what was charged, and the log of what left. SQLite, nothing else.

One passage is one transaction, which checks what was used, and writes the charge, the leaf, the
record's body and salt, and the Merkle nodes that the leaf completes. It is on disk before its frame
may leave (write-ahead log, ``synchronous=FULL``). A checkpoint is derived from leaves that are on
disk already, so it does not wait for the disk: a power cut may lose the latest.

Any number of threads and processes may share a ledger: a passage begins with ``BEGIN IMMEDIATE``,
so passages happen one after the other.

A day is a UTC day number, and days never move backwards: a passage is charged to the later of the
clock's day and the last passage's day, so that setting a clock back buys nothing. The price: after
a clock that ran ahead, the day stays until real time catches up.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple, Self

from ugsd_privacy.audit.merkle import (
    completed_nodes,
    frontier_positions,
    frontier_root,
    leaf_hash,
)
from ugsd_privacy.budget import Usage
from ugsd_privacy.errors import LedgerCorrupt, LedgerUnavailable

__all__ = ["Ledger", "LedgerRow", "LedgerView", "Passage", "Signing"]

_SECONDS_PER_DAY = 86_400
_FILE_NAME = "ledger.sqlite3"
_APPLICATION_ID = 0x55475344  # "UGSD"
_FORMAT = 1
_SCHEMA = (
    "CREATE TABLE leaves (leaf INTEGER PRIMARY KEY, content BLOB NOT NULL, salt BLOB NOT NULL,"
    " body BLOB NOT NULL) STRICT",
    "CREATE TABLE charges (leaf INTEGER PRIMARY KEY REFERENCES leaves, user TEXT NOT NULL,"
    " day INTEGER NOT NULL, caption BLOB, blocks INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, day_blocks INTEGER NOT NULL, day_tokens INTEGER NOT NULL,"
    " day_bytes INTEGER NOT NULL) STRICT",
    "CREATE INDEX charges_by_day ON charges (user, day)",
    "CREATE INDEX charges_by_caption ON charges (caption, blocks, tokens, bytes)",
    "CREATE TABLE nodes (level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
)
_LOST = "lost"
_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "foreign_keys = ON",
    "fullfsync = ON",  # without it, Apple's fsync leaves data in the drive's cache
)
_CORRUPT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_ERROR,  # of our fixed statements: a table or column is gone
    sqlite3.SQLITE_MISMATCH,
}


class LedgerRow(NamedTuple):
    """A leaf with its record and its charge, as stored; ``None`` where the charge is missing."""

    leaf: int
    content: bytes
    salt: bytes
    body: bytes
    user: str | None
    day: int | None
    caption: bytes | None
    blocks: int | None
    tokens: int | None
    bytes: int | None
    day_blocks: int | None
    """This and the next two: what the user had used that day, this passage included."""
    day_tokens: int | None
    day_bytes: int | None


class LedgerView:
    """Reads within one transaction. Its methods raise :class:`LedgerError`'s kinds."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def size(self) -> int:
        """Number of leaves. Raises :class:`LedgerCorrupt` where leaves and charges differ."""
        return self._end()[0]

    def node(self, level: int, position: int) -> bytes:
        """Hash of a full subtree, 32 bytes. Raises :class:`LedgerCorrupt` if it is missing."""
        found = self.node_or_none(level, position)
        if found is None:
            raise LedgerCorrupt("a Merkle node is missing")
        return found

    def node_or_none(self, level: int, position: int) -> bytes | None:
        """Hash of a full subtree, if it is stored."""
        query = "SELECT hash FROM nodes WHERE level = ? AND position = ?"
        row = self._db.execute(query, (level, position)).fetchone()
        return None if row is None else bytes(row[0])

    def frontier(self, size: int) -> list[bytes]:
        """Hashes of the full subtrees of the first ``size`` leaves, largest first."""
        return [self.node(*position) for position in frontier_positions(size)]

    def root(self, size: int) -> bytes:
        """Root over the first ``size`` leaves."""
        return frontier_root(self.frontier(size))

    def day_of(self, now_s: float) -> int:
        """The day that a passage at this Unix time is charged to."""
        return _day_of(now_s, self._end()[1])

    def day_usage(self, user: str, day: int) -> Usage:
        """What ``user`` used on ``day``."""
        # The running total, not a sum: a day may have thousands of charges.
        query = (
            "SELECT day_blocks, day_tokens, day_bytes FROM charges WHERE user = ? AND day = ?"
            " ORDER BY leaf DESC LIMIT 1"
        )
        row = self._db.execute(query, (user, day)).fetchone()
        return Usage() if row is None else Usage(*row)

    def caption_usage(self, caption: bytes) -> Usage:
        """What the caption with this local id used."""
        query = (
            "SELECT coalesce(sum(blocks), 0), coalesce(sum(tokens), 0), coalesce(sum(bytes), 0)"
            " FROM charges WHERE caption = ?"
        )
        return Usage(*self._one(query, caption))

    def caption_leaves(self, caption: bytes) -> list[int]:
        """Indices of a caption's passages, ascending."""
        query = "SELECT leaf FROM charges WHERE caption = ? ORDER BY leaf"
        return [row[0] for row in self._db.execute(query, (caption,))]

    def rows(self) -> Iterator[LedgerRow]:
        """Every leaf with its charge, in order."""
        query = (
            "SELECT leaf, content, salt, body, user, day, caption, blocks, tokens, bytes,"
            " day_blocks, day_tokens, day_bytes"
            " FROM leaves LEFT JOIN charges USING (leaf) ORDER BY leaf"
        )
        return (LedgerRow(*row) for row in self._db.execute(query))

    def count(self) -> tuple[int, int, int]:
        """How many leaves, charges and nodes are stored."""
        tables = ("leaves", "charges", "nodes")
        leaves, charges, nodes = (
            int(self._one(f"SELECT count(*) FROM {table}")[0])  # noqa: S608  (fixed names)
            for table in tables
        )
        return leaves, charges, nodes

    def checkpoints(self) -> list[tuple[int, str]]:
        """Size and note of every stored checkpoint, ascending."""
        return self._db.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()

    def last_checkpoint(self) -> tuple[int, str] | None:
        """Size and note of the latest checkpoint."""
        query = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1"
        row: tuple[int, str] | None = self._db.execute(query).fetchone()
        return row

    def check_pages(self) -> None:
        """Raise :class:`LedgerCorrupt` unless SQLite finds its own file whole."""
        found = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise LedgerCorrupt("its pages do not fit together")

    def _end(self) -> tuple[int, int]:
        """Number of leaves, and the latest day that was charged, 0 before any."""
        last, charged, day = self._one(
            "SELECT (SELECT max(leaf) FROM leaves), (SELECT max(leaf) FROM charges),"
            " (SELECT day FROM charges ORDER BY leaf DESC LIMIT 1)"
        )
        if last != charged:
            raise LedgerCorrupt("leaves and charges differ")
        return (0, 0) if last is None else (last + 1, day)

    def _one(self, query: str, *values: object) -> tuple[int, ...]:
        row: tuple[int, ...] = self._db.execute(query, values).fetchone()
        return row


class Passage(LedgerView):
    """One write transaction of the door, for ``user`` and perhaps a caption."""

    def __init__(
        self, db: sqlite3.Connection, user: str, caption: bytes | None, now_s: float
    ) -> None:
        super().__init__(db)
        self._user = user
        self._caption = caption
        self.recorded = False
        self.index, last_day = self._end()
        """The leaf that this passage becomes."""
        self.day = _day_of(now_s, last_day)
        """The day that it is charged to."""
        self.used_today = self.day_usage(user, self.day)
        self.used_by_caption = None if caption is None else self.caption_usage(caption)

    def record(self, charge: Usage, *, content: bytes, salt: bytes, body: bytes) -> int:
        """Write charge and leaf; return the leaf's index. It stands once the passage ends."""
        execute, index, total = self._db.execute, self.index, self.used_today + charge
        whose = (index, self._user, self.day, self._caption)
        amounts = (charge.blocks, charge.tokens, charge.bytes)
        totals = (total.blocks, total.tokens, total.bytes)
        execute("INSERT INTO leaves VALUES (?, ?, ?, ?)", (index, content, salt, body))
        execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", whose + amounts + totals
        )
        nodes = completed_nodes(index, leaf_hash(content), self.node)
        self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
        self.recorded = True
        return index


class Signing(LedgerView):
    """One transaction that signs the log as it is."""

    def add_checkpoint(self, size: int, note: str) -> None:
        """Store a signed checkpoint; the first one of a size is kept."""
        self._db.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, note))


class Ledger:
    """A ledger in ``directory``, which it owns: mode 0700, its file 0600.

    Without ``create`` it must be there already, so that one which was lost does not begin anew with
    nothing charged. ``busy_timeout_s`` is how long it waits for other processes before
    LedgerUnavailable.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        create: bool = True,
        busy_timeout_s: float = 5.0,
    ) -> None:
        self._directory = Path(directory)
        self._create = create
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._process = 0

    @property
    def path(self) -> Path:
        """The database file."""
        return self._directory / _FILE_NAME

    def open(self) -> Self:
        """Open the ledger; create it, and its directory, where there is none and it may.

        Raises :class:`LedgerUnavailable` where it cannot be used, or where others may enter its
        directory or read its file, and :class:`LedgerCorrupt` where it is no sound ledger, or where
        it is missing or empty and was not to be created.
        """
        with self._lock, _typed_errors(self.path):
            if self._db is None:
                self._prepare_files()
                db = self._connect()
                try:
                    _prepare_schema(db, create=self._create)
                    LedgerView(db).size()
                except BaseException:
                    db.close()
                    raise
                self._db, self._process = db, os.getpid()
        return self

    def close(self) -> None:
        """Close it. May be called again."""
        with self._lock, _typed_errors(self.path):
            if self._db is not None and self._process == os.getpid():
                self._db.close()
            self._db = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def passage(self, *, user: str, caption: bytes | None, now_s: float) -> Iterator[Passage]:
        """One transaction of the door: committed at the end if it recorded, else rolled back.

        Raises :class:`LedgerUnavailable` or :class:`LedgerCorrupt`, at its start or at its end;
        then nothing may leave. (A commit whose success is unknown may have charged.)
        """
        with self._writing("FULL") as db:
            passage = Passage(db, user, caption, now_s)
            yield passage
            if not passage.recorded:
                db.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[LedgerView]:
        """A consistent view, on a connection of its own: the door does not wait for it."""
        with _typed_errors(self.path):
            self._require_open()
            with closing(self._connect()) as db:
                db.execute("PRAGMA query_only = ON")
                db.execute("BEGIN")
                _is_new(db, may_be=False)  # checks the format; a view begins when it first reads
                yield LedgerView(db)

    @contextmanager
    def signing(self) -> Iterator[Signing]:
        """A transaction for a checkpoint: no leaf can come between what is read and what is signed.

        Raises as :meth:`passage`.
        """
        with self._writing("NORMAL") as db:
            yield Signing(db)

    @contextmanager
    def _writing(self, synchronous: Literal["FULL", "NORMAL"]) -> Iterator[sqlite3.Connection]:
        with self._lock, _typed_errors(self.path):
            db = self._require_open()
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                if db.in_transaction:
                    db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                raise

    def _require_open(self) -> sqlite3.Connection:
        if self._db is None:
            raise LedgerUnavailable("the ledger is closed; call open()")
        if self._process != os.getpid():
            raise LedgerUnavailable("the ledger was opened before a fork; open it in this process")
        return self._db

    def _prepare_files(self) -> None:
        try:
            if not (self._create or (self.path.exists() and self.path.stat().st_size)):
                raise LedgerCorrupt(_LOST)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                modes = {self._directory: 0o700, self.path: 0o600}
                statuses = {
                    self._directory: self._directory.stat(),
                    self.path: os.fstat(descriptor),
                }
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LedgerUnavailable(f"cannot open a ledger in {self._directory}") from error
        if not stat.S_ISREG(statuses[self.path].st_mode):
            raise LedgerUnavailable(f"{self.path} is not a file")
        for path, mode in modes.items():
            if os.name == "posix" and statuses[path].st_mode & 0o077:
                raise LedgerUnavailable(f"others may use {path}; run: chmod {mode:o} {path}")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self.path,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,  # the lock lets one thread in at a time
        )
        # A damaged text is to differ from its record, not to stop the reader.
        db.text_factory = lambda raw: raw.decode(errors="replace")
        try:
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
        except BaseException:
            db.close()
            raise
        return db


def _prepare_schema(db: sqlite3.Connection, *, create: bool) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(db, may_be=create):
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _is_new(db: sqlite3.Connection, *, may_be: bool) -> bool:
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    schema = {row[0] for row in db.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL")}
    if (application, version, schema) == (0, 0, set()):
        if not may_be:
            raise LedgerCorrupt(_LOST)
        return True
    if application != _APPLICATION_ID:
        raise LedgerCorrupt("it is another program's database")
    if version != _FORMAT:
        raise LedgerUnavailable(f"ledger format {version}; this release reads {_FORMAT}")
    if schema != set(_SCHEMA):  # a lost table, a looser column, a trigger that edits
        raise LedgerCorrupt("its tables were altered")
    return False


def _day_of(now_s: float, last_day: int) -> int:
    return max(int(now_s // _SECONDS_PER_DAY), last_day)


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: damage is corrupt, anything else unavailable."""
    try:
        yield
    except LedgerCorrupt as error:
        raise _corrupt(path, str(error)) from error
    except UnicodeDecodeError as error:  # of SQLite's own message, which quotes a damaged schema
        raise _corrupt(path, "it cannot be read") from error
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if primary in _CORRUPT:
            raise _corrupt(path, "it cannot be read") from error
        raise LedgerUnavailable(
            "the ledger cannot be used (locked, full or unreadable); nothing may leave"
        ) from error


def _corrupt(path: Path, fault: str) -> LedgerCorrupt:
    if fault == _LOST:
        return LedgerCorrupt(
            f"{path}: the ledger was removed or emptied; restore it, "
            "or delete log.key too to start anew"
        )
    return LedgerCorrupt(
        f"{path} is damaged ({fault}); restore a backup, or move the home folder away to start anew"
    )
