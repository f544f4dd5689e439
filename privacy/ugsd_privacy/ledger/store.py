"""The file, its transactions, and what is made of SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, Self

from ugsd_privacy.errors import LedgerCorrupt, LedgerUnavailable
from ugsd_privacy.ledger.anchor import Anchor, Mark
from ugsd_privacy.ledger.clock import Uptime
from ugsd_privacy.ledger.schema import LOST, is_new, prepare_schema
from ugsd_privacy.ledger.views import LedgerView, Owning, Passage, Signing

__all__ = ["Ledger"]

_FILE_NAME = "ledger.sqlite3"
_ROLLED_BACK = "rolled back"
_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "foreign_keys = ON",
    "secure_delete = ON",  # what is erased is overwritten
    "fullfsync = ON",  # without it, Apple's fsync leaves data in the drive's cache
)
_CORRUPT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_ERROR,  # of our fixed statements: a table or column is gone
    sqlite3.SQLITE_MISMATCH,
}


class Ledger:
    """A ledger in ``directory``, which it owns: mode 0700, its file 0600.

    Without ``create`` it must be there already, so that one which was lost does not begin anew with
    nothing charged. ``anchor`` is a file outside ``directory`` that marks how far the ledger came:
    one that was restored from a backup is refused. ``busy_timeout_s`` is how long it waits for
    other processes before LedgerUnavailable.
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
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._anchor: Anchor | None = None
        self._process = 0
        self._synchronous = ""

    @property
    def path(self) -> Path:
        """The database file."""
        return self._directory / _FILE_NAME

    def open(self) -> Self:
        """Open the ledger; create it, and its directory, where there is none and it may.

        Raises :class:`LedgerUnavailable` where it cannot be used, or where others may enter its
        directory or read its file, and :class:`LedgerCorrupt` where it is no sound ledger, is not
        the one that its anchor marks, or is missing or empty and was not to be created.
        """
        with self._lock, _typed_errors(self.path):
            if self._db is None:
                self._prepare_files()
                db = self._connect()
                anchor: Anchor | None = None
                try:
                    prepare_schema(db, create=self._create)
                    if self._anchor_path is not None:
                        anchor = Anchor(self._anchor_path)
                    _compare(anchor, db, create=self._create)
                except BaseException:
                    db.close()
                    if anchor is not None:
                        anchor.close()
                    raise
                self._db, self._anchor, self._process = db, anchor, os.getpid()
                self._synchronous = ""
        return self

    def close(self) -> None:
        """Close it. May be called again."""
        with self._lock, _typed_errors(self.path):
            if self._db is not None and self._process == os.getpid():
                self._db.close()
            if self._anchor is not None:
                self._anchor.close()
            self._db = self._anchor = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def passage(
        self, *, user: str, caption: bytes | None, now_s: float, uptime: Uptime | None = None
    ) -> Iterator[Passage]:
        """One transaction of the door: committed at the end if it recorded, else rolled back.

        Raises :class:`LedgerUnavailable` or :class:`LedgerCorrupt`, at its start or at its end;
        then nothing may leave. (A commit whose success is unknown may have charged.)
        """
        with self._writing("FULL") as db:
            passage = Passage(db, user, caption, now_s, uptime)
            if passage.start is not None:
                passage.note(passage.start)
                db.execute("COMMIT")  # it stands even where this passage is refused
                db.execute("BEGIN IMMEDIATE")
                passage = Passage(db, user, caption, now_s, uptime)
            if self._anchor is not None and _mark(self._anchor).size > passage.index:
                raise LedgerCorrupt(_ROLLED_BACK)
            yield passage
            db.execute("COMMIT" if passage.last else "ROLLBACK")
            if self._anchor is not None and passage.last:
                self._anchor.write(Mark(passage.index + 1, passage.last))

    @contextmanager
    def reading(self) -> Iterator[LedgerView]:
        """A consistent view, on a connection of its own: the door does not wait for it."""
        with _typed_errors(self.path):
            self._require_open()
            with closing(self._connect()) as db:
                db.execute("PRAGMA query_only = ON")
                db.execute("BEGIN")
                is_new(db, may_be=False)  # checks the format; a view begins when it first reads
                yield LedgerView(db)

    @contextmanager
    def signing(self) -> Iterator[Signing]:
        """A transaction for a checkpoint: no leaf can come between what is read and what is signed.

        Raises as :meth:`passage`.
        """
        with self._writing("NORMAL") as db:
            yield Signing(db)

    @contextmanager
    def owning(self) -> Iterator[Owning]:
        """A transaction of the owner's notes. Raises as :meth:`passage`."""
        with self._writing("NORMAL") as db:
            yield Owning(db)

    def forget(self) -> None:
        """Drop what was erased from the write-ahead log too.

        Raises :class:`LedgerUnavailable` at once while another process reads: erased bytes may then
        still be in the files.
        """
        with self._lock, _typed_errors(self.path):
            db = self._require_open()
            db.execute("PRAGMA busy_timeout = 0")  # a reader may take minutes; the door waits here
            try:
                is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(1000 * self._busy_timeout_s)}")
            if is_busy:
                raise LedgerUnavailable(
                    "erased bytes may still be in the files while another process reads them; "
                    "erase again when it is done"
                )

    @contextmanager
    def _writing(self, synchronous: Literal["FULL", "NORMAL"]) -> Iterator[sqlite3.Connection]:
        with self._lock, _typed_errors(self.path):
            db = self._require_open()
            if synchronous != self._synchronous:
                db.execute(f"PRAGMA synchronous = {synchronous}")
                self._synchronous = synchronous
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
                raise LedgerCorrupt(LOST)
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
            raise LedgerUnavailable(
                f"cannot open a ledger in {self._directory} ({error.strerror}); to read a copy, "
                "put it where you may write"
            ) from error
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


def _mark(anchor: Anchor) -> Mark:
    mark = anchor.read()
    if mark is None:
        raise LedgerCorrupt("its anchor was removed or damaged")
    return mark


def _compare(anchor: Anchor | None, db: sqlite3.Connection, *, create: bool) -> None:
    """Raise :class:`LedgerCorrupt` unless the ledger is the one that ``anchor`` marks, or later."""
    # The mark first: whoever appends meanwhile makes the ledger longer than it, never shorter.
    seen = None if anchor is None else anchor.read()
    db.execute("BEGIN")  # one view of it, whatever is appended meanwhile
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
        anchor.write(seen, durable=True)  # before there is a leaf that it could lack
    mark = seen or _mark(anchor)  # another process made both meanwhile
    if mark.size > size or (mark.size and view.node(0, mark.size - 1) != mark.last):
        raise LedgerCorrupt(_ROLLED_BACK)


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: damage is corrupt, anything else unavailable."""
    try:
        yield
    except LedgerCorrupt as error:
        raise _corrupt(path, str(error)) from error
    except OSError as error:  # of the anchor
        raise LedgerUnavailable("the ledger's anchor cannot be used; nothing may leave") from error
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
    if fault == _ROLLED_BACK:
        return LedgerCorrupt(
            f"{path} was restored from a backup: it lacks passages that were made; restore the "
            "latest, or move the home folder away to start anew"
        )
    if fault == LOST:
        return LedgerCorrupt(
            f"{path}: the ledger was removed or emptied; restore it, "
            "or move the home folder away to start anew"
        )
    return LedgerCorrupt(
        f"{path} is damaged ({fault}); restore a backup, or move the home folder away to start anew"
    )
