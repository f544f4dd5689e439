"""Counters of a running server: totals only, nothing about a caption, a key or a peer."""

from __future__ import annotations

from dataclasses import dataclass, field

from ugsd_privacy.protocol.messages import RefusalCode, Verdict

__all__ = ["Metrics"]


@dataclass
class Metrics:
    """Counters since the server started. Written by the event loop's thread only."""

    connections_opened: int = 0
    connections_refused: int = 0
    """Connections refused because ``max_connections`` were open or the server was stopping."""
    sessions_opened: int = 0
    """Connections whose handshake succeeded."""
    sessions_rejected: int = 0
    """Connections closed for a bad handshake or a forged frame."""
    tokens_drafted: int = 0
    """Block tokens that got a verdict."""
    tokens_accepted: int = 0
    tokens_written: int = 0
    """Corrections and continuations."""
    verdicts: int = 0
    cover_frames: int = 0
    """Cover frames answered; they have no content."""
    late_answers: int = 0
    """Answers in constant shape that were not ready after ``reply_after_ms``. Their delay reveals
    that the frame held a block: if they are not rare, increase ``reply_after_ms``."""
    refusals: dict[RefusalCode, int] = field(default_factory=lambda: dict.fromkeys(RefusalCode, 0))

    def count_verdict(self, verdict: Verdict, *, drafted: int) -> None:
        """Count one verdict on a block of ``drafted`` tokens."""
        self.verdicts += 1
        self.tokens_drafted += drafted
        self.tokens_accepted += verdict.accepted
        self.tokens_written += (verdict.correction is not None) + len(verdict.continuation)
