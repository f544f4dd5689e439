"""The time that a caption may wait for its verifier and for locks of other processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["WaitingTime"]

_FOR_LOCKS = 0.05
"""Share of the limit that is reserved for locks: after waiting for a silent verifier, a caption
still gets its receipts while another process briefly holds the ledger."""


class WaitingTime:
    """One caption's waiting time. All its waits together take at most ``limit_s`` plus a twentieth
    of it, which only locks may use."""

    def __init__(self, limit_s: float) -> None:
        self._remaining_s = limit_s
        self._for_locks_s = _FOR_LOCKS * limit_s

    @property
    def remaining_s(self) -> float:
        """Seconds remaining for waits for a peer, at least 0."""
        return max(self._remaining_s, 0.0)

    @contextmanager
    def for_peer(self) -> Iterator[float]:
        """Count the time inside the block; yield the timeout for a peer in seconds."""
        started_s = monotonic()
        try:
            yield self.remaining_s
        finally:
            self._remaining_s -= monotonic() - started_s

    @contextmanager
    def for_lock(self, at_most_s: float | None = None) -> Iterator[float]:
        """Count the time inside the block; yield the timeout for a lock in seconds, at most
        ``at_most_s``. With a timeout of 0 a free lock can still be acquired."""
        longest_s = max(self._remaining_s + self._for_locks_s, 0.0)
        started_s = monotonic()
        try:
            yield longest_s if at_most_s is None else max(min(longest_s, at_most_s), 0.0)
        finally:
            used_s = monotonic() - started_s
            beyond_s = max(used_s - self.remaining_s, 0.0)
            self._remaining_s -= used_s - beyond_s
            self._for_locks_s -= beyond_s
