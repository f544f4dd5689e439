"""Why blocks were escalated or not: kept for the owner, never in the log, never for long.

It holds no token and nothing that was heard; it tells which block of which caption was kept here,
sent, or withheld, and by what reason.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from ugsd_privacy.errors import LedgerCorrupt

__all__ = ["DECISIONS_KEPT", "Decision", "note_decisions", "read_decisions"]

DECISIONS_KEPT = 10_000
"""How many are kept; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Decision:
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


def note_decisions(db: sqlite3.Connection, decisions: Sequence[Decision]) -> None:
    """Add some and forget the oldest, within a transaction."""
    db.executemany(
        "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", map(astuple, decisions)
    )
    db.execute(
        "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", (DECISIONS_KEPT,)
    )


def read_decisions(
    db: sqlite3.Connection, user: str, caption: bytes | None, limit: int
) -> list[Decision]:
    """Those of a user, or of one caption, the latest ``limit``, oldest first. Raises
    :class:`LedgerCorrupt`."""
    rows = db.execute(
        "SELECT time_s, user, caption, start, tokens, uncertainty, outcome, reason FROM decisions"
        " WHERE user = ?1 AND (?2 IS NULL OR caption = ?2) ORDER BY id DESC LIMIT ?3",
        (user, caption, limit),
    ).fetchall()
    if any(time_s < 0 or start < 0 or tokens < 0 for time_s, _, _, start, tokens, *_ in rows):
        raise LedgerCorrupt("a note of why a block stayed or left is none")
    return [Decision(*row) for row in reversed(rows)]
