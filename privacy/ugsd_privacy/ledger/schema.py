"""The tables of a ledger; a database with any other tables is refused."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from time import monotonic, sleep

from ugsd_privacy.errors import LedgerCorrupt, LedgerUnavailable

__all__ = ["LOST", "is_new", "prepare_schema"]

LOST = "lost"
"""The fault of a ledger that must exist and does not."""

_APPLICATION_ID = 0x55475344  # "UGSD"
_FORMAT, _WITHOUT_RECORDINGS = 5, 4
"""The format, and the one before it, which is converted when a ledger is opened."""
_POLL_S = 0.005
_AMOUNTS = ", ".join(
    f"{measure} INTEGER NOT NULL" for measure in ("blocks", "tokens", "frames", "bytes", "spend")
)
_SCHEMA = (
    "CREATE TABLE leaves (leaf INTEGER PRIMARY KEY, content BLOB NOT NULL, sealed BLOB NOT NULL)"
    " STRICT",
    # Secrets from which keys of bodies are derived, each sealed to the owner's key; `owner` is a
    # digest of that key.
    "CREATE TABLE epochs (epoch INTEGER PRIMARY KEY REFERENCES leaves, owner BLOB NOT NULL,"
    " sealed BLOB NOT NULL) STRICT",
    "CREATE TABLE charges (leaf INTEGER PRIMARY KEY REFERENCES leaves, user TEXT NOT NULL,"
    f" hour INTEGER NOT NULL, caption BLOB, {_AMOUNTS}, recording BLOB) STRICT",
    "CREATE INDEX charges_by_caption ON charges (caption) WHERE caption IS NOT NULL",
    # A window is an hour or a day by number, a lifetime, or a caption or a recording by its id.
    "CREATE TABLE totals (user TEXT NOT NULL, window TEXT NOT NULL, number ANY NOT NULL,"
    f" {_AMOUNTS}, PRIMARY KEY (user, window, number)) STRICT, WITHOUT ROWID",
    "CREATE TABLE nodes (level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
    # Caps that the owner set on this device; the empty user stands for everyone.
    "CREATE TABLE caps (user TEXT NOT NULL, cap TEXT NOT NULL, value ANY NOT NULL,"
    " PRIMARY KEY (user, cap)) STRICT, WITHOUT ROWID",
    "CREATE TABLE start (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL,"
    " uptime_s REAL NOT NULL, time_s REAL NOT NULL) STRICT",
    "CREATE TABLE decisions (id INTEGER PRIMARY KEY, time_s INTEGER NOT NULL, user TEXT NOT NULL,"
    " caption BLOB NOT NULL, start INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    " uncertainty REAL NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL) STRICT",
)


_ADD_RECORDING = "ALTER TABLE charges ADD COLUMN recording BLOB"
_SCHEMA_WITHOUT_RECORDINGS = tuple(
    statement.replace(", recording BLOB)", ")") for statement in _SCHEMA
)


def prepare_schema(db: sqlite3.Connection, *, create: bool, ends_s: float) -> None:
    """Create the tables of a new ledger if ``create`` is true, and convert one of the format before
    recordings, whose rows all stay as they are. Another process that does the same is waited for
    until ``ends_s``, a time of ``time.monotonic()``.

    Raises :class:`LedgerCorrupt` or :class:`LedgerUnavailable` for any other database.
    """
    _write_ahead(db, ends_s)
    db.execute("BEGIN IMMEDIATE")
    try:
        if _is_without_recordings(db):
            db.execute(_ADD_RECORDING)
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        if is_new(db, may_be=create):
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _write_ahead(db: sqlite3.Connection, ends_s: float) -> None:
    """Turn on the write-ahead log. SQLite's own timeout does not hold here: while another process
    creates the database, it reports at once that it is busy."""
    while True:
        try:
            mode: str = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= ends_s:
                raise
            sleep(_POLL_S)
        else:
            if mode != "wal":
                raise LedgerUnavailable(
                    "the ledger's file system shares no memory between processes, which a "
                    "write-ahead log needs: use a home folder on a local disk"
                )
            return


def is_new(db: sqlite3.Connection, *, may_be: bool) -> bool:
    """Return whether the database is empty. Raises like :func:`prepare_schema`."""
    application, version, schema = _read_schema(db)
    if (application, version, schema) == (0, 0, set()):
        if not may_be:
            raise LedgerCorrupt(LOST)
        return True
    if application != _APPLICATION_ID:
        raise LedgerCorrupt("it is the database of another program")
    if version != _FORMAT:
        raise LedgerUnavailable(
            f"the ledger has format {version}, and this release reads {_FORMAT}: use the release "
            "that wrote it, or move the home folder away to start again"
        )
    if schema != set(_SCHEMA):  # a lost table, a looser column, a trigger that edits
        raise LedgerCorrupt("its tables were altered")
    return False


def _is_without_recordings(db: sqlite3.Connection) -> bool:
    """Return whether this is a whole ledger of the format before recordings."""
    found = _APPLICATION_ID, _WITHOUT_RECORDINGS, set(_SCHEMA_WITHOUT_RECORDINGS)
    return _read_schema(db) == found


def _read_schema(db: sqlite3.Connection) -> tuple[int, int, set[str]]:
    """Return the ids of the application and of the format, and the statements of the tables."""
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    schema = {row[0] for row in db.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL")}
    return application, version, schema
