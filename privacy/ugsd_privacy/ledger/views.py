"""Read and write a ledger within one transaction."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ugsd_privacy.budget import CAPS, Usage, Window
from ugsd_privacy.errors import LedgerCorrupt
from ugsd_privacy.ledger.clock import Start, Uptime, hour_of, time_of
from ugsd_privacy.ledger.journal import (
    JournalRow,
    Questions,
    append_to_journal,
    delete_from_journal,
    read_journal,
    read_questions,
)
from ugsd_privacy.tlog.merkle import (
    completed_nodes,
    frontier_positions,
    frontier_root,
    leaf_hash,
)
from ugsd_privacy.user_names import require_normal_user

__all__ = [
    "ALL_USERS",
    "MAX_CHECKPOINTS",
    "EgressTransaction",
    "LedgerRow",
    "LedgerView",
    "OwnerTransaction",
    "SigningTransaction",
    "Total",
    "window_numbers",
]

MAX_CHECKPOINTS = 64
ALL_USERS = ""
"""The user name under which caps for all users are stored."""
_HOURS_PER_DAY = 24
_LAST_S = 253_402_300_800
"""The start of the year 10,000, Unix time."""
_AMOUNTS = "blocks, tokens, frames, bytes, spend"
_ONE_TOTAL = f"SELECT window, {_AMOUNTS} FROM totals WHERE user = ? AND window = ? AND number = ?"  # noqa: S608


class LedgerRow(NamedTuple):
    """A leaf with its sealed record and its charge, as stored; fields of a missing charge are
    ``None``."""

    leaf: int
    content: bytes
    sealed: bytes
    user: str | None
    hour: int | None
    caption: bytes | None
    recording: bytes | None
    blocks: int | None
    tokens: int | None
    frames: int | None
    bytes: int | None
    spend: int | None


class Total(NamedTuple):
    """What a user used in one window. ``number`` is the number of an hour or a day, 0 for a
    lifetime, or the id of a caption or a recording."""

    user: str
    window: str
    number: int | bytes
    usage: Usage


def window_numbers(
    hour: int, caption: bytes | None, recording: bytes | None = None
) -> dict[Window, int | bytes]:
    """Return the number of each window to which an egress is charged."""
    numbers: dict[Window, int | bytes] = {}
    if caption is not None:
        numbers["caption"] = caption
    if recording is not None:
        numbers["recording"] = recording
    return numbers | {"hour": hour, "day": hour // _HOURS_PER_DAY, "lifetime": 0}


class LedgerView:
    """Read access within one transaction. All methods may raise :class:`LedgerError`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def size(self) -> int:
        """Return the number of leaves. Raises :class:`LedgerCorrupt` if the charges differ."""
        return self._end()[0]

    def node(self, level: int, position: int) -> bytes:
        """Return the 32-byte hash of a full subtree. Raises :class:`LedgerCorrupt` if missing."""
        query = "SELECT hash FROM nodes WHERE level = ? AND position = ?"
        row = self._db.execute(query, (level, position)).fetchone()
        if row is None:
            raise LedgerCorrupt("a Merkle node is missing")
        return bytes(row[0])

    def level(self, level: int) -> Iterator[tuple[int, bytes]]:
        """Yield position and hash of every stored full subtree of a level, in order."""
        query = "SELECT position, hash FROM nodes WHERE level = ? ORDER BY position"
        return self._db.execute(query, (level,))

    def nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of the full subtrees ``start`` to ``stop`` of a level, in order.

        Raises :class:`LedgerCorrupt` if one is missing.
        """
        query = (
            "SELECT hash FROM nodes WHERE level = ? AND position >= ? AND position < ?"
            " ORDER BY position"
        )
        hashes = [bytes(row[0]) for row in self._db.execute(query, (level, start, stop))]
        if len(hashes) != stop - start:
            raise LedgerCorrupt("a Merkle node is missing")
        return hashes

    def frontier(self, size: int) -> list[bytes]:
        """Return the hashes of the full subtrees of the first ``size`` leaves, largest first."""
        return [self.node(*position) for position in frontier_positions(size)]

    def root(self, size: int) -> bytes:
        """Return the root hash over the first ``size`` leaves."""
        return frontier_root(self.frontier(size))

    def hour_of(self, now_s: float, uptime: Uptime | None) -> int:
        """Return the hour to which an egress would be charged now."""
        return hour_of(now_s, uptime, self._start(), self._end()[1])[0]

    def time_of(self, now_s: float, uptime: Uptime | None) -> float:
        """Return the Unix time in seconds by which the hour is counted now."""
        return time_of(now_s, uptime, self._start(), self._end()[1])

    def usage(self, user: str, window: str, number: int | bytes) -> Usage:
        """Return what ``user`` used in one window."""
        row = self._db.execute(_ONE_TOTAL, (user, window, number)).fetchone()
        return Usage() if row is None else Usage(*row[1:])

    def used(
        self,
        user: str,
        hour: int,
        caption: bytes | None = None,
        recording: bytes | None = None,
    ) -> dict[Window, Usage]:
        """Return what ``user`` used in each window to which an egress at ``hour`` is charged."""
        numbers = window_numbers(hour, caption, recording)
        # A union and not one condition, so that each part is a look-up by the whole key.
        query = " UNION ALL ".join([_ONE_TOTAL] * len(numbers))
        values = [value for key in numbers.items() for value in (user, *key)]
        rows = self._db.execute(query, values).fetchall()
        if any(amount < 0 for row in rows for amount in row[1:]):
            raise LedgerCorrupt("a total is negative")
        return dict.fromkeys(numbers, Usage()) | {row[0]: Usage(*row[1:]) for row in rows}

    def totals(self) -> Iterator[Total]:
        """Yield the stored total of every window."""
        query = f"SELECT user, window, number, {_AMOUNTS} FROM totals"  # noqa: S608
        return (
            Total(user, window, number, Usage(*amounts))
            for user, window, number, *amounts in self._db.execute(query)
        )

    def caps(self, user: str) -> dict[str, float]:
        """Return the caps that the owner set on this device for ``user`` or for all users, the
        smaller of both; for ``ALL_USERS`` only those for all users."""
        query = "SELECT cap, value FROM caps WHERE user IN (?, ?)"
        smallest: dict[str, float] = {}
        for cap, value in self._db.execute(query, (user, ALL_USERS)):
            if cap not in CAPS or type(value) not in (int, float) or not 0 <= value < math.inf:
                raise LedgerCorrupt("a cap that was set on this device is invalid")
            smallest[cap] = min(value, smallest.get(cap, value))
        return smallest

    def users(self) -> list[str]:
        """Return all users to whom something was charged."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT user FROM charges ORDER BY 1")]

    def caption_leaves(self, caption: bytes) -> list[int]:
        """Return the leaf indices of a caption, ascending."""
        query = "SELECT leaf FROM charges WHERE caption = ? ORDER BY leaf"
        return [row[0] for row in self._db.execute(query, (caption,))]

    def rows(self, user: str | None = None) -> Iterator[LedgerRow]:
        """Yield every leaf with its charge, in order, or only those charged to ``user``."""
        query = (
            f"SELECT leaf, content, sealed, user, hour, caption, recording, {_AMOUNTS}"  # noqa: S608
            " FROM leaves LEFT JOIN charges USING (leaf)"
            " WHERE ?1 IS NULL OR user = ?1 ORDER BY leaf"
        )
        return map(LedgerRow._make, self._db.execute(query, (user,)))

    def leaves(self, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """Return content and sealed body of the leaves ``start`` to ``stop``, in order.

        Raises :class:`LedgerCorrupt` if one is missing.
        """
        query = "SELECT content, sealed FROM leaves WHERE leaf >= ? AND leaf < ? ORDER BY leaf"
        rows = self._db.execute(query, (start, stop))
        found = [(bytes(content), bytes(sealed)) for content, sealed in rows]
        if len(found) != stop - start:
            raise LedgerCorrupt("a leaf is missing")
        return found

    def hours(self) -> tuple[int, int] | None:
        """Return the first and the last hour that was charged; ``None`` if there is none."""
        first, last = self._one("SELECT min(hour), max(hour) FROM charges")
        if first is None:
            return None
        if not 0 <= first <= last < _LAST_S // 3600:
            raise LedgerCorrupt("an hour that was charged is invalid")
        return first, last

    def epoch(self, number: int) -> tuple[bytes, bytes] | None:
        """Return the digest of the owner's key, and the epoch's secret sealed to that key."""
        query = "SELECT owner, sealed FROM epochs WHERE epoch = ?"
        row: tuple[bytes, bytes] | None = self._db.execute(query, (number,)).fetchone()
        return row

    def sealed_leaves(
        self,
        *,
        before_hour: int | None = None,
        user: str | None = None,
        caption: bytes | None = None,
    ) -> list[int]:
        """Return the leaves whose sealed body is stored, ascending: all of them, or those that were
        charged before an hour, to a user, or for a caption."""
        query = (
            "SELECT leaf FROM leaves JOIN charges USING (leaf) WHERE substr(sealed, 1, 1) = x'01'"
            " AND (?1 IS NULL OR hour < ?1) AND (?2 IS NULL OR user = ?2)"
            " AND (?3 IS NULL OR caption = ?3) ORDER BY leaf"
        )
        return [row[0] for row in self._db.execute(query, (before_hour, user, caption))]

    def count(self) -> tuple[int, int, int]:
        """Return the numbers of stored leaves, charges and nodes."""
        tables = ("leaves", "charges", "nodes")
        leaves, charges, nodes = (
            int(self._one(f"SELECT count(*) FROM {table}")[0])  # noqa: S608  (fixed names)
            for table in tables
        )
        return leaves, charges, nodes

    def checkpoints(self) -> list[tuple[int, str]]:
        """Return size and note of every stored checkpoint, ascending."""
        return self._db.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()

    def last_checkpoint(self) -> tuple[int, str] | None:
        """Return size and note of the latest checkpoint."""
        query = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1"
        row: tuple[int, str] | None = self._db.execute(query).fetchone()
        return row

    def journal(
        self, user: str, *, caption: bytes | None = None, limit: int = 100
    ) -> list[JournalRow]:
        """Return the latest journal entries of ``user``, or of one caption."""
        return read_journal(self._db, user, caption, limit)

    def questions(self, user: str, *, after_row: int, since_s: int, limit: int) -> Questions:
        """Return questions of ``user`` in the journal: see :func:`read_questions`."""
        return read_questions(self._db, user, after_row=after_row, since_s=since_s, limit=limit)

    def check_pages(self) -> None:
        """Raise :class:`LedgerCorrupt` unless SQLite's integrity check passes."""
        found = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise LedgerCorrupt("SQLite's integrity check fails")

    def _end(self) -> tuple[int, int]:
        """Return the number of leaves, and the latest hour that was charged, 0 if there is none."""
        last: int | None = self._one("SELECT max(leaf) FROM leaves")[0]
        query = "SELECT leaf, hour FROM charges ORDER BY leaf DESC LIMIT 1"
        charged, hour = self._db.execute(query).fetchone() or (None, 0)
        if last != charged:
            raise LedgerCorrupt("leaves and charges differ")
        return (0, 0) if last is None else (last + 1, hour)

    def _start(self) -> Start | None:
        row = self._db.execute("SELECT boot, uptime_s, time_s FROM start").fetchone()
        if row is not None and not (math.isfinite(row[1]) and 0 <= row[2] < _LAST_S):
            raise LedgerCorrupt("the time that hours are counted from is invalid")
        return None if row is None else Start(*row)

    def _one(self, query: str, *values: object) -> tuple[int, ...]:
        row: tuple[int, ...] = self._db.execute(query, values).fetchone()
        return row


class EgressTransaction(LedgerView):
    """A write transaction of one egress, for ``user`` and possibly a caption, which may belong to a
    recording."""

    def __init__(
        self,
        db: sqlite3.Connection,
        user: str,
        caption: bytes | None,
        now_s: float,
        uptime: Uptime | None,
        recording: bytes | None = None,
    ) -> None:
        super().__init__(db)
        self._user = user
        self._caption = caption
        self._recording = recording
        self.last = b""
        """Hash of the recorded leaf; empty before :meth:`record`."""
        self.content = b""
        """Content of the recorded leaf."""
        self.index, last_hour = self._end()
        """Index of the leaf that this egress will get."""
        start = None if uptime is None else self._start()
        self.hour, self.start = hour_of(now_s, uptime, start, last_hour)
        """The hour to which it is charged; and a new reference for counting hours, or ``None``."""
        self.before = self.used(user, self.hour, caption, recording)
        """What was used in each window before this egress."""

    def record_clock_start(self, start: Start) -> None:
        """Store ``start`` as the reference from which hours are counted from now on."""
        self._db.execute("INSERT OR REPLACE INTO start VALUES (1, ?, ?, ?)", start)

    def record(
        self,
        charge: Usage,
        *,
        content: bytes,
        sealed: bytes,
        resets: Iterable[str] = (),
    ) -> int:
        """Write charge and leaf; return the leaf's index. The end of the transaction commits them.

        Afterwards nothing is used in the windows of ``resets``.
        """
        execute, index, user = self._db.execute, self.index, self._user
        execute("INSERT INTO leaves VALUES (?, ?, ?)", (index, content, sealed))
        execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (index, user, self.hour, self._caption, *charge.counts, self._recording),
        )
        numbers = window_numbers(self.hour, self._caption, self._recording)
        self._db.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (user, window, number, *(self.before[window] + charge).counts)
                if window not in resets
                else (user, window, number, *Usage().counts)
                for window, number in numbers.items()
            ),
        )
        self.last, self.content = leaf_hash(content), content
        nodes = completed_nodes(index, self.last, self.node)
        self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
        return index

    def begin_epoch(self, owner: bytes, sealed: bytes) -> None:
        """Store the sealed secret of the epoch that begins with the recorded leaf."""
        self._db.execute("INSERT INTO epochs VALUES (?, ?, ?)", (self.index, owner, sealed))

    def erase(self, leaves: Iterable[int]) -> None:
        """Delete the bodies of ``leaves``."""
        rows = ((leaf,) for leaf in leaves)
        self._db.executemany("UPDATE leaves SET sealed = x'' WHERE leaf = ?", rows)


class SigningTransaction(LedgerView):
    """A transaction that signs the log in its present state."""

    def add_checkpoint(self, size: int, note: str) -> None:
        """Store a signed checkpoint.

        The first checkpoint of a size stays. Only the latest ``MAX_CHECKPOINTS`` are stored: each
        covers all leaves of the earlier ones.
        """
        self._db.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, note))
        self._db.execute(
            "DELETE FROM checkpoints WHERE size <= (SELECT size FROM checkpoints"
            " ORDER BY size DESC LIMIT 1 OFFSET ?)",
            (MAX_CHECKPOINTS,),
        )


class OwnerTransaction(LedgerView):
    """A transaction on the owner's caps and journal, which are not part of the log."""

    def set_cap(self, user: str, cap: str, value: float | None) -> None:
        """Set one of ``budget.CAPS`` on this device for ``user``, or for ``ALL_USERS``, whatever
        applications configure; ``None`` removes it.

        Raises :class:`UserNameRefused` for a name that is not in its normal form, because a cap
        under it would never apply.
        """
        if user != ALL_USERS:
            require_normal_user(user)
        if value is None:
            self._db.execute("DELETE FROM caps WHERE user = ? AND cap = ?", (user, cap))
            return
        self._db.execute("INSERT OR REPLACE INTO caps VALUES (?, ?, ?)", (user, cap, value))

    def append_to_journal(self, decisions: Sequence[JournalRow]) -> None:
        """Add journal entries: why blocks were escalated or not."""
        append_to_journal(self._db, decisions)

    def delete_from_journal(
        self,
        *,
        before_s: int | None = None,
        user: str | None = None,
        caption: bytes | None = None,
    ) -> None:
        """Delete journal entries: all, or those before a time, of a user, or of a caption."""
        delete_from_journal(self._db, before_s=before_s, user=user, caption=caption)
