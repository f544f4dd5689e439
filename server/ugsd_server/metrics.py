"""What a running server counts. Totals only: nothing about a caption, a key or a peer."""

from __future__ import annotations

from dataclasses import dataclass, field

from ugsd_privacy.protocol.messages import RefusalCode, Verdict

__all__ = ["Metrics"]


@dataclass
class Metrics:
    """Counters since the server started. Written by the event loop's thread only."""

    connections_opened: int = 0
    connections_refused: int = 0
    """Turned away because as many as allowed were open."""
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
    """Covers answered; they carry nothing."""
    late_answers: int = 0
    """Answers in constant shape that missed the first beat of ``reply_after_ms``. Such an answer
    was a block's: where they are not rare, choose a longer one."""
    refusals: dict[RefusalCode, int] = field(default_factory=lambda: dict.fromkeys(RefusalCode, 0))

    def count_verdict(self, verdict: Verdict, *, drafted: int) -> None:
        """Count one verdict on a block of ``drafted`` tokens."""
        self.verdicts += 1
        self.tokens_drafted += drafted
        self.tokens_accepted += verdict.accepted
        self.tokens_written += (verdict.correction is not None) + len(verdict.continuation)
