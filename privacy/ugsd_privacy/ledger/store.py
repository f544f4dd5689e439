"""The ledger: its file, its transactions, and the translation of SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from threading import Lock
from typing import Literal, Self

from ugsd_privacy.errors import LedgerCorrupt, LedgerMoved, LedgerUnavailable
from ugsd_privacy.files.file_owners import remedy_of
from ugsd_privacy.ledger.anchor import Anchor, Mark
from ugsd_privacy.ledger.clock import Uptime
from ugsd_privacy.ledger.database import Database, slices
from ugsd_privacy.ledger.handles import open_database
from ugsd_privacy.ledger.schema import LOST, is_new
from ugsd_privacy.ledger.views import (
    EgressTransaction,
    LedgerView,
    OwnerTransaction,
    SigningTransaction,
)
from ugsd_privacy.slots import Slots

__all__ = ["Ledger"]

_FILE_NAME = "ledger.sqlite3"
_ROLLED_BACK = "rolled back"
_CLOSE_TIMEOUT_S = 1.0
_OPEN_SLICE_S = 0.05
_CORRUPT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_ERROR,  # our statements are fixed, so a table or column is missing
    sqlite3.SQLITE_MISMATCH,
}

_UNAVAILABLE = {
    sqlite3.SQLITE_READONLY: "read-only file or file system: allow writing, or use another home",
    sqlite3.SQLITE_BUSY: "another process has locked it: end that process, or try again",
    sqlite3.SQLITE_LOCKED: "another process has locked it: end that process, or try again",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_CANTOPEN: "it did not open: allow writing in its folder, or use another home",
}
"""Cause and next step of SQLite's other errors, by primary code."""


class Ledger:
    """A ledger in ``directory``, which belongs to it and has mode 0700; the file has mode 0600.

    If ``create`` is false, the ledger must exist, so that a lost one is not replaced by an empty
    one. ``anchor`` is a file outside ``directory`` that marks the latest state of the ledger; a
    ledger that was restored from a backup is refused. ``busy_timeout_s`` is how long each call
    waits for other threads and processes before it raises :class:`LedgerUnavailable`, unless the
    call has a shorter timeout.

    All ledgers of a process on the same file share one SQLite handle.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        create: bool = True,
        anchor: str | os.PathLike[str] | None = None,
        busy_timeout_s: float = 5.0,
    ) -> None:
        self._directory = Path(directory)
        self._anchor_path = None if anchor is None else Path(anchor)
        self._create = create
        self._busy_timeout_s = busy_timeout_s
        self._turn = Slots()
        self._database: Database | None = None
        self._anchor: Anchor | None = None

    @property
    def path(self) -> Path:
        """The database file."""
        return self._directory / _FILE_NAME

    def open(self, *, timeout_s: float | None = None) -> Self:
        """Open the ledger; create it and its directory if they are missing and ``create`` is true.

        Raises :class:`LedgerUnavailable` if it cannot be used, or if other users may enter its
        directory or read its file. Raises :class:`LedgerCorrupt` if it is damaged, is not the one
        that its anchor marks, or is missing or empty and ``create`` is false.
        """
        with (
            (holder := Lock()),
            self._turn.held(holder, repeat(_OPEN_SLICE_S)),
            _typed_errors(self.path),
        ):
            if self._database is None:
                timeout_s = self._busy_timeout_s if timeout_s is None else timeout_s
                database = open_database(self.path, timeout_s, create=self._create)
                anchor: Anchor | None = None
                try:
                    if self._anchor_path is not None:
                        anchor = Anchor(self._anchor_path)
                    with database.reader(timeout_s) as db:
                        _compare(anchor, db, create=self._create)
                except BaseException:
                    database.release()
                    if anchor is not None:
                        anchor.close()
                    raise
                self._database, self._anchor = database, anchor
        return self

    def close(self) -> None:
        """Close the ledger within about two seconds. May be called again."""
        with (
            (holder := Lock()),
            self._turn.held(holder, slices(_CLOSE_TIMEOUT_S)) as is_in_time,
            _typed_errors(self.path),
        ):
            if not is_in_time:
                return  # another thread is still opening it; the last reference closes it
            database, self._database = self._database, None
            anchor, self._anchor = self._anchor, None
            if anchor is not None:
                anchor.close()
            if database is not None:
                database.release()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_in_place(self) -> bool:
        """Return whether the ledger is open and its files are still those at their paths."""
        database, anchor = self._database, self._anchor
        return (
            database is not None
            and database.is_in_place()
            and (anchor is None or anchor.is_in_place())
        )

    @contextmanager
    def begin_egress(
        self,
        *,
        user: str,
        caption: bytes | None,
        now_s: float,
        recording: bytes | None = None,
        uptime: Uptime | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[EgressTransaction]:
        """Yield one egress transaction, which is committed if it recorded, else rolled back.

        ``recording`` is the id of the recording that the caption belongs to, if any.
        ``timeout_s`` is how long to wait for other threads and processes. Raises
        :class:`LedgerUnavailable` or :class:`LedgerCorrupt` at the start or at the end; then
        nothing may be sent. (If it is unknown whether a commit succeeded, it may have charged.)
        Raises :class:`LedgerMoved` unless the commit is at the ledger's path when this returns.
        """
        with self._writing("FULL", timeout_s) as db:
            egress = EgressTransaction(db, user, caption, now_s, uptime, recording)
            if egress.start is not None:
                egress.record_clock_start(egress.start)
                db.execute("COMMIT")  # it stays even if this egress is refused
                db.execute("BEGIN IMMEDIATE")
                egress = EgressTransaction(db, user, caption, now_s, uptime, recording)
            if self._anchor is not None and _mark(self._anchor).size > egress.index:
                raise LedgerCorrupt(_ROLLED_BACK)
            yield egress
            db.execute("COMMIT" if egress.last else "ROLLBACK")
            if self._anchor is not None and egress.last:
                self._anchor.write(Mark(egress.index + 1, egress.last))
            self._require_in_place()
            if egress.last:
                self._require_open().require_committed(egress.content)

    @contextmanager
    def reading(self, *, timeout_s: float | None = None) -> Iterator[LedgerView]:
        """Yield a consistent view on a separate connection; writers do not wait for it.

        ``timeout_s`` is how long to wait for other threads and processes. Raises
        :class:`LedgerUnavailable` or :class:`LedgerCorrupt`.
        """
        with (
            _typed_errors(self.path),
            self._require_open().reader(self._wait_s(timeout_s)) as db,
        ):
            db.execute("BEGIN")
            is_new(db, may_be=False)  # checks the format; the first read fixes the view
            yield LedgerView(db)

    @contextmanager
    def signing(self, *, timeout_s: float | None = None) -> Iterator[SigningTransaction]:
        """Yield a transaction for a checkpoint: no leaf can be added between reading and signing.

        Raises like :meth:`begin_egress`.
        """
        with self._writing("NORMAL", timeout_s) as db:
            yield SigningTransaction(db)

    @contextmanager
    def as_owner(self, *, timeout_s: float | None = None) -> Iterator[OwnerTransaction]:
        """Yield a transaction on the owner's caps and journal. Raises like :meth:`begin_egress`."""
        with self._writing("NORMAL", timeout_s) as db:
            yield OwnerTransaction(db)

    def truncate_write_ahead_log(self) -> None:
        """Remove erased content from the write-ahead log too.

        Raises :class:`LedgerUnavailable` at once if another process is reading: then erased bytes
        may still be in the files.
        """
        with _typed_errors(self.path):
            database = self._require_open()
            with database.exclusive(self._busy_timeout_s) as db:
                database.set_busy_timeout(0)  # a reader may take minutes, and frames wait for this
                is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if is_busy:
                raise LedgerUnavailable(
                    "erased bytes may still be in the files while another process reads them; "
                    "erase again when it is done"
                )

    @contextmanager
    def _writing(
        self, synchronous: Literal["FULL", "NORMAL"], timeout_s: float | None
    ) -> Iterator[sqlite3.Connection]:
        with _typed_errors(self.path):
            database = self._require_open()
            with database.exclusive(self._wait_s(timeout_s)) as db:
                self._require_in_place()
                database.set_synchronous(synchronous)
                db.execute("BEGIN IMMEDIATE")
                own = database.entered
                yield db
                if database.entered is not own:  # what it wrote was rolled back
                    raise LedgerUnavailable("the transaction was left, and others began: try again")
                if db.in_transaction:
                    db.execute("COMMIT")

    def _require_open(self) -> Database:
        if self._database is None:
            raise LedgerUnavailable("the ledger is closed; call open()")
        return self._database

    def _require_in_place(self) -> None:
        self._require_open().require_in_place()
        if self._anchor is not None:
            self._anchor.require_in_place()

    def _wait_s(self, timeout_s: float | None) -> float:
        return self._busy_timeout_s if timeout_s is None else min(timeout_s, self._busy_timeout_s)


def _mark(anchor: Anchor) -> Mark:
    mark = anchor.read()
    if mark is None:
        raise LedgerCorrupt("its anchor was removed or damaged")
    return mark


def _compare(anchor: Anchor | None, db: sqlite3.Connection, *, create: bool) -> None:
    """Raise :class:`LedgerCorrupt` unless the ledger is in the state that ``anchor`` marks, or a
    later one."""
    # The mark is read first: appends in between only make the ledger longer than the mark.
    seen = None if anchor is None else anchor.read()
    db.execute("BEGIN")  # one consistent view, whatever is appended meanwhile
    try:
        _compare_view(anchor, seen, LedgerView(db), create=create)
    finally:
        db.execute("ROLLBACK")


def _compare_view(
    anchor: Anchor | None, seen: Mark | None, view: LedgerView, *, create: bool
) -> None:
    size = view.size()
    if anchor is None:
        return
    if create and not size and seen is None:
        seen = Mark()
        anchor.write(seen, durable=True)  # before there is a first leaf
    mark = seen or _mark(anchor)  # another process created both meanwhile
    if mark.size > size or (mark.size and view.node(0, mark.size - 1) != mark.last):
        raise LedgerCorrupt(_ROLLED_BACK)


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: damage into corrupt, all others into unavailable."""
    try:
        yield
    except LedgerCorrupt as error:
        raise _corrupt(path, str(error)) from error
    except LedgerMoved as error:
        raise LedgerMoved(
            f"{error}; nothing was sent. Put it back, or close the captioner and load it again to "
            "use the file that is there now"
        ) from error
    except OSError as error:  # raised by the anchor
        anchor = error.filename or "the ledger's anchor"
        raise LedgerUnavailable(
            f"{anchor} cannot be used: {error.strerror}: {remedy_of(error, path.parent.parent)}"
        ) from error
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        raise _corrupt(path, "it cannot be read") from error
    except sqlite3.Error as error:
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if primary == sqlite3.SQLITE_ERROR and "transaction" in str(error):
            raise LedgerUnavailable(f"{path}: a transaction was interrupted: try again") from error
        if primary in _CORRUPT:
            raise _corrupt(path, "it cannot be read") from error
        name = getattr(error, "sqlite_errorname", "an error")
        remedy = _UNAVAILABLE.get(
            primary, f"SQLite reports {name}: check the disk and the file's permissions"
        )
        raise LedgerUnavailable(f"{path} cannot be used: {remedy}") from error


def _corrupt(path: Path, fault: str) -> LedgerCorrupt:
    if fault == _ROLLED_BACK:
        return LedgerCorrupt(
            f"{path} was restored from a backup: its latest records are missing; restore the "
            "latest backup, or move the home folder away to start again"
        )
    if fault == LOST:
        return LedgerCorrupt(
            f"{path}: the ledger was removed or emptied; restore it, "
            "or move the home folder away to start again"
        )
    return LedgerCorrupt(
        f"{path} is damaged ({fault}); restore a backup, or move the home folder "
        "away to start again"
    )
