"""The journal: why each block was escalated or not. It is for the owner and not part of the log.

It contains no tokens, only which block of which caption was kept, sent or blocked, and the reason
with the numbers that decided. Budget pacing learns the demand from it. Old entries are deleted.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ugsd_privacy.errors import LedgerCorrupt
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR
from ugsd_privacy.reasons import MAX_AMOUNT, NUM_AMOUNTS, Reason, ReasonCode

__all__ = [
    "MAX_JOURNAL_ROWS",
    "NO_QUESTIONS",
    "VERIFIER_DISABLED_LABEL",
    "JournalRow",
    "Questions",
    "append_to_journal",
    "delete_from_journal",
    "read_journal",
    "read_questions",
]

MAX_JOURNAL_ROWS = 10_000
"""Maximum number of entries; older ones are deleted."""
VERIFIER_DISABLED_LABEL = "not judged"
"""How people read the outcome ``verifier_disabled``."""

_STORED = {"local": "kept", "blocked": "withheld", "verifier_disabled": "alone"}
"""The words on disk of the outcomes that were renamed since; journals of all releases are read."""
_READ = {stored: outcome for outcome, stored in _STORED.items()}


@dataclass(frozen=True, slots=True)
class JournalRow:
    """The decision on one block of a caption, and its outcome."""

    time_s: int
    """Unix time by the device's clock."""
    user: str
    caption: bytes
    """The caption's id in the log; random if nothing was logged for it."""
    start: int
    """Position of the block's first token."""
    tokens: int
    uncertainty: float | None
    """``None`` for tokens that no verifier judges, whose reason is ``MEASURED``; stored as 0."""
    outcome: str
    """``local``, ``sent``, ``blocked``, or ``verifier_disabled``: not judged, because an earlier
    block was blocked or unanswered."""
    reason: Reason
    """Stored as JSON; a sentence of an earlier release is read as ``OTHER``."""


class Questions(NamedTuple):
    """Questions of a user whose worth was compared with the price of their cost, by the journal."""

    latest: Sequence[tuple[float, tuple[int, ...]]]
    """Worth and cost of the latest ones, asked or not, oldest first: see :class:`Reason`."""
    by_hour: Mapping[int, int]
    """Number of questions in each hour since 1970 by the device's clock."""
    first_s: int | None
    """Unix time of the earliest; ``None`` without questions."""
    last_row: int
    """The journal's last row so far."""


NO_QUESTIONS = Questions([], {}, None, 0)


def append_to_journal(db: sqlite3.Connection, decisions: Sequence[JournalRow]) -> None:
    """Add entries and delete the oldest ones, within a transaction."""
    db.executemany(
        "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, decisions)
    )
    db.execute(
        "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", (MAX_JOURNAL_ROWS,)
    )


def delete_from_journal(
    db: sqlite3.Connection, *, before_s: int | None, user: str | None, caption: bytes | None
) -> None:
    """Delete the entries that match all given conditions, within a transaction."""
    db.execute(
        "DELETE FROM decisions WHERE (?1 IS NULL OR time_s < ?1) AND (?2 IS NULL OR user = ?2)"
        " AND (?3 IS NULL OR caption = ?3)",
        (before_s, user, caption),
    )


def read_journal(
    db: sqlite3.Connection, user: str, caption: bytes | None, limit: int
) -> list[JournalRow]:
    """Return the latest ``limit`` entries of a user, or of one caption, oldest first. Raises
    :class:`LedgerCorrupt`."""
    rows = db.execute(
        "SELECT time_s, user, caption, start, tokens, uncertainty, outcome, reason FROM decisions"
        " WHERE user = ?1 AND (?2 IS NULL OR caption = ?2) ORDER BY id DESC LIMIT ?3",
        (user, caption, limit),
    ).fetchall()
    if any(time_s < 0 or start < 0 or tokens < 0 for time_s, _, _, start, tokens, *_ in rows):
        raise LedgerCorrupt("a stored block decision is invalid")
    return [_decision(*row) for row in reversed(rows)]


def read_questions(
    db: sqlite3.Connection, user: str, *, after_row: int, since_s: int, limit: int
) -> Questions:
    """Return a user's questions after a row of the journal and since a Unix time, the latest
    ``limit`` of them with worth and cost. Other reasons with the same words may be counted; they
    are not returned."""
    rows = db.execute(
        "SELECT time_s, reason FROM decisions WHERE id > ?1 AND user = ?2 AND time_s >= ?3"
        " AND reason LIKE '%\"worth\":%' ORDER BY id",
        (after_row, user, since_s),
    ).fetchall()
    last_row = db.execute("SELECT max(id) FROM decisions").fetchone()[0] or 0
    found = (_worth_and_cost(reason) for _, reason in rows[-limit:])
    latest = [one for one in found if one is not None]
    by_hour = Counter(time_s // SECONDS_PER_HOUR for time_s, _ in rows)
    return Questions(latest, by_hour, min((time_s for time_s, _ in rows), default=None), last_row)


def _worth_and_cost(reason_json: str) -> tuple[float, tuple[int, ...]] | None:
    """Read two fields of a reason, ten times faster than the whole; ``None`` if they are invalid.
    What is wrong with a row is found when it is shown."""
    try:
        fields = json.loads(reason_json)
        worth, cost = float(fields["worth"]), tuple(map(int, fields["cost"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    amounts = len(cost) == NUM_AMOUNTS and all(0 <= amount <= MAX_AMOUNT for amount in cost)
    is_valid = 0 <= worth < math.inf and amounts
    return (worth, cost) if is_valid else None


def _decision(
    time_s: int,
    user: str,
    caption: bytes,
    start: int,
    tokens: int,
    uncertainty: float,
    stored: str,
    reason_json: str,
) -> JournalRow:
    outcome, reason = _READ.get(stored, stored), Reason.from_journal(reason_json)
    judged = None if reason.code is ReasonCode.MEASURED else uncertainty
    return JournalRow(time_s, user, caption, start, tokens, judged, outcome, reason)


def _row(decision: JournalRow) -> tuple[int, str, bytes, int, int, float, str, str]:
    return (
        decision.time_s,
        decision.user,
        decision.caption,
        decision.start,
        decision.tokens,
        decision.uncertainty or 0.0,
        _STORED.get(decision.outcome, decision.outcome),
        decision.reason.to_json(),
    )
