"""The state of a witness: the last checkpoint that it cosigned of each log, in an SQLite file.

One transaction reads the last checkpoint and replaces it, and is on disk before the witness
answers, so that threads, processes and crashes cannot make it sign a smaller or forked tree. The
state is bound to one key. A state that was lost, emptied or bound to another key is refused; one
that was restored from a backup cannot be detected.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from ugsd_privacy.errors import KeyFileError, WitnessUnavailable
from ugsd_privacy.files.file_owners import (
    make_private_folder,
    require_not_writable,
    require_owned_by_us,
)
from ugsd_privacy.tlog.checkpoint import Checkpoint
from ugsd_privacy.tlog.merkle import EMPTY_ROOT

__all__ = ["WitnessState"]

_TABLES = (
    "CREATE TABLE cosigned (origin_hash TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " root BLOB NOT NULL, note TEXT NOT NULL) STRICT",
    "CREATE TABLE witness (key TEXT NOT NULL) STRICT",
)


class WitnessState:
    """The last checkpoint that a witness cosigned of each log, in an SQLite file.

    Without ``create`` the file must exist: a witness that lost its state would sign anything.
    """

    def __init__(self, path: Path, *, create: bool = False, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._create = create
        self._busy_timeout_s = busy_timeout_s

    def open(self) -> Self:
        """Check the file; create it if that is allowed. Raises :class:`WitnessUnavailable`."""
        if not self._create and not self._path.exists():
            raise self._lost()
        try:
            make_private_folder(self._path.parent)
            require_not_writable(self._path.parent)
            if self._path.exists():
                require_owned_by_us(self._path)
        except OSError as error:
            raise WitnessUnavailable(f"cannot create {self._path.parent}") from error
        except KeyFileError as error:
            raise WitnessUnavailable(str(error)) from error
        with self._transaction(create=self._create) as db:
            query = "SELECT sql FROM sqlite_schema WHERE sql NOT NULL"
            tables = {sql for (sql,) in db.execute(query)}
            if self._create and not tables:
                for table in _TABLES:
                    db.execute(table)
            elif tables != set(_TABLES):  # a looser column could hold something else than a number
                raise self._lost()
        return self

    def is_new(self) -> bool:
        """Return whether no key is bound yet. Raises :class:`WitnessUnavailable`."""
        with self._transaction() as db:
            return _key_text(db) is None

    def bind(self, key: str) -> None:
        """Bind a new state to the witness whose verifier key has this text.

        Raises :class:`WitnessUnavailable` if the state is bound to another witness.
        """
        with self._transaction() as db:
            bound = _key_text(db)
            if bound is None:
                db.execute("INSERT INTO witness VALUES (?)", (key,))
            elif bound != key:
                raise WitnessUnavailable(
                    f"{self._path} is the state of another witness, {bound}; give that witness's "
                    "key file, or another folder"
                )

    def note(self, origin_hash: str) -> str | None:
        """Return the last cosigned checkpoint of a log. Raises :class:`WitnessUnavailable`."""
        with self._transaction() as db:
            row = _row(db, origin_hash)
        return None if row is None else row[2]

    @contextmanager
    def transaction(self, origin: str) -> Iterator[_Latest]:
        """Lock and yield the last cosigned tree of a log; its replacement is on disk at the end.

        Raises :class:`WitnessUnavailable`.
        """
        with self._transaction() as db:
            yield _Latest(db, hashlib.sha256(origin.encode()).hexdigest())

    def _lost(self) -> WitnessUnavailable:
        return WitnessUnavailable(
            f"{self._path} was lost, emptied or replaced, so this witness no longer knows what it "
            "cosigned; restore it, or start with another key in another folder"
        )

    @contextmanager
    def _transaction(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        wait_s = self._busy_timeout_s
        try:
            with closing(
                sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None)
            ) as db:
                db.execute("PRAGMA synchronous = EXTRA")  # the journal's removal is durable too
                db.execute("PRAGMA fullfsync = ON")
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")  # on any error the connection is closed, which rolls back
        except sqlite3.Error as error:
            raise WitnessUnavailable(
                f"cannot use {self._path} (missing, locked, full or damaged); nothing was signed"
            ) from error


class _Latest:
    """The last cosigned tree of one log, within a transaction."""

    def __init__(self, db: sqlite3.Connection, origin_hash: str) -> None:
        self._db = db
        self._origin_hash = origin_hash
        self.size, self.root, _ = _row(db, origin_hash) or (0, EMPTY_ROOT, "")

    def replace(self, checkpoint: Checkpoint, note: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?)",
            (self._origin_hash, checkpoint.size, checkpoint.root, note),
        )


def _key_text(db: sqlite3.Connection) -> str | None:
    row: tuple[str] | None = db.execute("SELECT key FROM witness").fetchone()
    return None if row is None else row[0]


def _row(db: sqlite3.Connection, origin_hash: str) -> tuple[int, bytes, str] | None:
    query = "SELECT size, root, note FROM cosigned WHERE origin_hash = ?"
    row: tuple[int, bytes, str] | None = db.execute(query, (origin_hash,)).fetchone()
    return row
