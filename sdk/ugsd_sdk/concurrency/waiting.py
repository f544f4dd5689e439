"""How long a caption may wait for others: for a peer, and for locks that another process holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["WaitingTime"]

_FOR_LOCKS = 0.05
"""Share of the limit that only locks may use: a silent verifier must not cost a caption its
receipts because another process held the ledger for a moment."""


class WaitingTime:
    """One caption's waiting time. All its waits take from it, so they never add up to more than
    ``limit_s`` and a twentieth of it."""

    def __init__(self, limit_s: float) -> None:
        self._left_s = limit_s
        self._for_locks_s = _FOR_LOCKS * limit_s

    @property
    def left_s(self) -> float:
        """Seconds that may still be spent on waiting for a peer, at least 0."""
        return max(self._left_s, 0.0)

    @contextmanager
    def spending(self) -> Iterator[float]:
        """Count the time spent inside; gives the longest that it may be for a peer, in seconds."""
        started_s = monotonic()
        try:
            yield self.left_s
        finally:
            self._left_s -= monotonic() - started_s

    @contextmanager
    def locking(self, at_most_s: float | None = None) -> Iterator[float]:
        """Count the time spent inside; gives the longest to wait for a lock, in seconds and at most
        ``at_most_s``. A lock that is free is had for 0."""
        most_s = max(self._left_s + self._for_locks_s, 0.0)
        started_s = monotonic()
        try:
            yield most_s if at_most_s is None else max(min(most_s, at_most_s), 0.0)
        finally:
            spent_s = monotonic() - started_s
            beyond_s = max(spent_s - self.left_s, 0.0)
            self._left_s -= spent_s - beyond_s
            self._for_locks_s -= beyond_s
