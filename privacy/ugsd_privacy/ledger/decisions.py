"""Why blocks were escalated or not: kept for the owner, never in the log, never for long.

It holds no token and nothing that was heard; it tells which block of which caption was kept here,
sent, or withheld, and by what reason.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from ugsd_privacy.errors import LedgerCorrupt

__all__ = [
    "MAX_DECISIONS",
    "BlockDecisionRow",
    "append_decisions",
    "delete_decisions",
    "read_decisions",
]

MAX_DECISIONS = 10_000
"""How many are kept; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class BlockDecisionRow:
    """What became of one block of a caption."""

    time_s: int
    """Unix time by the device's clock."""
    user: str
    caption: bytes
    """The caption's id in the log; random where nothing of it was logged."""
    start: int
    """Position of the block's first token."""
    tokens: int
    uncertainty: float
    outcome: str
    """``kept``, ``sent``, ``withheld`` or ``alone``."""
    reason: str
    """In words."""


def append_decisions(db: sqlite3.Connection, decisions: Sequence[BlockDecisionRow]) -> None:
    """Add some and forget the oldest, within a transaction."""
    db.executemany(
        "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", map(astuple, decisions)
    )
    db.execute(
        "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", (MAX_DECISIONS,)
    )


def delete_decisions(
    db: sqlite3.Connection, *, before_s: int | None, user: str | None, caption: bytes | None
) -> None:
    """Delete those that all of what is given holds of, within a transaction."""
    db.execute(
        "DELETE FROM decisions WHERE (?1 IS NULL OR time_s < ?1) AND (?2 IS NULL OR user = ?2)"
        " AND (?3 IS NULL OR caption = ?3)",
        (before_s, user, caption),
    )


def read_decisions(
    db: sqlite3.Connection, user: str, caption: bytes | None, limit: int
) -> list[BlockDecisionRow]:
    """Those of a user, or of one caption, the latest ``limit``, oldest first. Raises
    :class:`LedgerCorrupt`."""
    rows = db.execute(
        "SELECT time_s, user, caption, start, tokens, uncertainty, outcome, reason FROM decisions"
        " WHERE user = ?1 AND (?2 IS NULL OR caption = ?2) ORDER BY id DESC LIMIT ?3",
        (user, caption, limit),
    ).fetchall()
    if any(time_s < 0 or start < 0 or tokens < 0 for time_s, _, _, start, tokens, *_ in rows):
        raise LedgerCorrupt("a stored block decision is invalid")
    return [BlockDecisionRow(*row) for row in reversed(rows)]
