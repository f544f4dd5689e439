"""What may be read of a ledger, and written, within one transaction."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ugsd_privacy.budget import CAPS, Usage, Window
from ugsd_privacy.errors import LedgerCorrupt
from ugsd_privacy.ledger.clock import Start, Uptime, hour_of
from ugsd_privacy.ledger.decisions import (
    BlockDecisionRow,
    append_decisions,
    delete_decisions,
    read_decisions,
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
"""The user whose caps are everyone's."""
_HOURS_PER_DAY = 24
_LAST_S = 253_402_300_800
"""The year 10,000."""
_AMOUNTS = "blocks, tokens, frames, bytes, spend"
_ONE_TOTAL = f"SELECT window, {_AMOUNTS} FROM totals WHERE user = ? AND window = ? AND number = ?"  # noqa: S608


class LedgerRow(NamedTuple):
    """A leaf with its sealed record and its charge, as stored; ``None`` where the charge is
    missing."""

    leaf: int
    content: bytes
    sealed: bytes
    user: str | None
    hour: int | None
    caption: bytes | None
    blocks: int | None
    tokens: int | None
    frames: int | None
    bytes: int | None
    spend: int | None


class Total(NamedTuple):
    """What a user used in one window: ``number`` is that of an hour or a day, 0 for a lifetime, or
    a caption's id."""

    user: str
    window: str
    number: int | bytes
    usage: Usage


def window_numbers(hour: int, caption: bytes | None) -> dict[Window, int | bytes]:
    """The number of each window that a passage counts in."""
    numbers: dict[Window, int | bytes] = {} if caption is None else {"caption": caption}
    return numbers | {"hour": hour, "day": hour // _HOURS_PER_DAY, "lifetime": 0}


class LedgerView:
    """Reads within one transaction. Its methods raise :class:`LedgerError`'s kinds."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def size(self) -> int:
        """Number of leaves. Raises :class:`LedgerCorrupt` where leaves and charges differ."""
        return self._end()[0]

    def node(self, level: int, position: int) -> bytes:
        """Hash of a full subtree, 32 bytes. Raises :class:`LedgerCorrupt` if it is missing."""
        query = "SELECT hash FROM nodes WHERE level = ? AND position = ?"
        row = self._db.execute(query, (level, position)).fetchone()
        if row is None:
            raise LedgerCorrupt("a Merkle node is missing")
        return bytes(row[0])

    def level(self, level: int) -> Iterator[tuple[int, bytes]]:
        """Position and hash of every full subtree of a level that is stored, in order."""
        query = "SELECT position, hash FROM nodes WHERE level = ? ORDER BY position"
        return self._db.execute(query, (level,))

    def nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Hashes of the full subtrees ``start`` to ``stop`` of a level, in order.

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
        """Hashes of the full subtrees of the first ``size`` leaves, largest first."""
        return [self.node(*position) for position in frontier_positions(size)]

    def root(self, size: int) -> bytes:
        """Root over the first ``size`` leaves."""
        return frontier_root(self.frontier(size))

    def hour_of(self, now_s: float, uptime: Uptime | None) -> int:
        """The hour that a passage would be charged to."""
        return hour_of(now_s, uptime, self._start(), self._end()[1])[0]

    def usage(self, user: str, window: str, number: int | bytes) -> Usage:
        """What ``user`` used in one window."""
        row = self._db.execute(_ONE_TOTAL, (user, window, number)).fetchone()
        return Usage() if row is None else Usage(*row[1:])

    def used(self, user: str, hour: int, caption: bytes | None = None) -> dict[Window, Usage]:
        """What ``user`` used in each window that a passage at ``hour`` counts in."""
        numbers = window_numbers(hour, caption)
        # Joined, not one condition: each part is then one look-up by the whole key.
        query = " UNION ALL ".join([_ONE_TOTAL] * len(numbers))
        values = [value for key in numbers.items() for value in (user, *key)]
        rows = self._db.execute(query, values).fetchall()
        if any(amount < 0 for row in rows for amount in row[1:]):
            raise LedgerCorrupt("a total is less than nothing")
        return dict.fromkeys(numbers, Usage()) | {row[0]: Usage(*row[1:]) for row in rows}

    def totals(self) -> Iterator[Total]:
        """Every window's total that is stored."""
        query = f"SELECT user, window, number, {_AMOUNTS} FROM totals"  # noqa: S608
        return (
            Total(user, window, number, Usage(*amounts))
            for user, window, number, *amounts in self._db.execute(query)
        )

    def caps(self, user: str) -> dict[str, float]:
        """Caps that the owner set on this device: for ``user``, the smaller of theirs and
        everyone's; for ``ALL_USERS``, everyone's."""
        query = "SELECT cap, value FROM caps WHERE user IN (?, ?)"
        smallest: dict[str, float] = {}
        for cap, value in self._db.execute(query, (user, ALL_USERS)):
            if cap not in CAPS or type(value) not in (int, float) or not 0 <= value < math.inf:
                raise LedgerCorrupt("a cap that was set on this device is invalid")
            smallest[cap] = min(value, smallest.get(cap, value))
        return smallest

    def users(self) -> list[str]:
        """Everyone to whom anything was charged."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT user FROM charges ORDER BY 1")]

    def caption_leaves(self, caption: bytes) -> list[int]:
        """Indices of a caption's passages, ascending."""
        query = "SELECT leaf FROM charges WHERE caption = ? ORDER BY leaf"
        return [row[0] for row in self._db.execute(query, (caption,))]

    def rows(self, user: str | None = None) -> Iterator[LedgerRow]:
        """Every leaf with its charge, in order; those charged to ``user`` where one is named."""
        query = (
            f"SELECT leaf, content, sealed, user, hour, caption, {_AMOUNTS}"  # noqa: S608
            " FROM leaves LEFT JOIN charges USING (leaf)"
            " WHERE ?1 IS NULL OR user = ?1 ORDER BY leaf"
        )
        return map(LedgerRow._make, self._db.execute(query, (user,)))

    def leaves(self, start: int, stop: int) -> list[tuple[bytes, bytes]]:
        """Content and sealed body of the leaves ``start`` to ``stop``, in order.

        Raises :class:`LedgerCorrupt` if one is missing.
        """
        query = "SELECT content, sealed FROM leaves WHERE leaf >= ? AND leaf < ? ORDER BY leaf"
        rows = self._db.execute(query, (start, stop))
        found = [(bytes(content), bytes(sealed)) for content, sealed in rows]
        if len(found) != stop - start:
            raise LedgerCorrupt("a leaf is missing")
        return found

    def hours(self) -> tuple[int, int] | None:
        """The first and the last hour that was charged; ``None`` before any."""
        first, last = self._one("SELECT min(hour), max(hour) FROM charges")
        if first is None:
            return None
        if not 0 <= first <= last < _LAST_S // 3600:
            raise LedgerCorrupt("an hour that was charged is invalid")
        return first, last

    def epoch(self, number: int) -> tuple[bytes, bytes] | None:
        """Digest of the owner's key, and the secret sealed to it."""
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
        """Leaves whose sealed body is kept: all of them, or those charged before an hour, to a
        user, or for a caption. Ascending."""
        query = (
            "SELECT leaf FROM leaves JOIN charges USING (leaf) WHERE substr(sealed, 1, 1) = x'01'"
            " AND (?1 IS NULL OR hour < ?1) AND (?2 IS NULL OR user = ?2)"
            " AND (?3 IS NULL OR caption = ?3) ORDER BY leaf"
        )
        return [row[0] for row in self._db.execute(query, (before_hour, user, caption))]

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

    def decisions(
        self, user: str, *, caption: bytes | None = None, limit: int = 100
    ) -> list[BlockDecisionRow]:
        """Why blocks of ``user``, or of one caption, were escalated or not; the latest ones."""
        return read_decisions(self._db, user, caption, limit)

    def check_pages(self) -> None:
        """Raise :class:`LedgerCorrupt` unless SQLite finds its own file whole."""
        found = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise LedgerCorrupt("its pages do not fit together")

    def _end(self) -> tuple[int, int]:
        """Number of leaves, and the latest hour that was charged, 0 before any."""
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
    """One write transaction of the door, for ``user`` and perhaps a caption."""

    def __init__(
        self,
        db: sqlite3.Connection,
        user: str,
        caption: bytes | None,
        now_s: float,
        uptime: Uptime | None,
    ) -> None:
        super().__init__(db)
        self._user = user
        self._caption = caption
        self.last = b""
        """Hash of the leaf that was recorded; empty before that."""
        self.index, last_hour = self._end()
        """The leaf that this passage becomes."""
        start = None if uptime is None else self._start()
        self.hour, self.start = hour_of(now_s, uptime, start, last_hour)
        """The hour that it is charged to; a start of the machine that was not known before."""
        self.before = self.used(user, self.hour, caption)
        """What was used in each window, by its name."""

    def record_clock_start(self, start: Start) -> None:
        """Count hours from ``start`` from now on."""
        self._db.execute("INSERT OR REPLACE INTO start VALUES (1, ?, ?, ?)", start)

    def record(
        self,
        charge: Usage,
        *,
        content: bytes,
        sealed: bytes,
        resets: Iterable[str] = (),
    ) -> int:
        """Write charge and leaf; return the leaf's index. It stands once the passage ends.

        The windows of ``resets`` have nothing used afterwards.
        """
        execute, index, user = self._db.execute, self.index, self._user
        execute("INSERT INTO leaves VALUES (?, ?, ?)", (index, content, sealed))
        execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (index, user, self.hour, self._caption, *charge.counts),
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (user, window, number, *(self.before[window] + charge).counts)
                if window not in resets
                else (user, window, number, *Usage().counts)
                for window, number in window_numbers(self.hour, self._caption).items()
            ),
        )
        self.last = leaf_hash(content)
        nodes = completed_nodes(index, self.last, self.node)
        self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
        return index

    def begin_epoch(self, owner: bytes, sealed: bytes) -> None:
        """Store, with the leaf that was recorded, the sealed secret of the epoch it begins."""
        self._db.execute("INSERT INTO epochs VALUES (?, ?, ?)", (self.index, owner, sealed))

    def erase(self, leaves: Iterable[int]) -> None:
        """Empty the bodies of ``leaves``."""
        rows = ((leaf,) for leaf in leaves)
        self._db.executemany("UPDATE leaves SET sealed = x'' WHERE leaf = ?", rows)


class SigningTransaction(LedgerView):
    """One transaction that signs the log as it is."""

    def add_checkpoint(self, size: int, note: str) -> None:
        """Store a signed checkpoint; the first one of a size is kept, and of all of them the latest
        ``MAX_CHECKPOINTS``: each holds all leaves that those before it held."""
        self._db.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, note))
        self._db.execute(
            "DELETE FROM checkpoints WHERE size <= (SELECT size FROM checkpoints"
            " ORDER BY size DESC LIMIT 1 OFFSET ?)",
            (MAX_CHECKPOINTS,),
        )


class OwnerTransaction(LedgerView):
    """One transaction of the owner's own notes, which no leaf holds."""

    def set_cap(self, user: str, cap: str, value: float | None) -> None:
        """Hold ``user``, or ``ALL_USERS``, to one of ``budget.CAPS`` on this device, whatever
        applications configure; ``None`` takes it back. Raises :class:`UserNameRefused` for a name
        that is not in its normal form, which would hold nobody."""
        if user != ALL_USERS:
            require_normal_user(user)
        if value is None:
            self._db.execute("DELETE FROM caps WHERE user = ? AND cap = ?", (user, cap))
            return
        self._db.execute("INSERT OR REPLACE INTO caps VALUES (?, ?, ?)", (user, cap, value))

    def append_decisions(self, decisions: Sequence[BlockDecisionRow]) -> None:
        """Keep why blocks were escalated or not."""
        append_decisions(self._db, decisions)

    def delete_decisions(
        self,
        *,
        before_s: int | None = None,
        user: str | None = None,
        caption: bytes | None = None,
    ) -> None:
        """Delete notes: all of them, or those from before a time, of a user, or of a caption."""
        delete_decisions(self._db, before_s=before_s, user=user, caption=caption)
