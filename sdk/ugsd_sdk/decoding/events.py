"""What the decoder asks of its driver, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ugsd_privacy.egress import Escalation

__all__ = [
    "BlockOutcome",
    "DecodedToken",
    "DecodingCounts",
    "EscalationRequested",
    "Event",
    "Finished",
    "Outcome",
    "TokenSource",
    "VerdictAwaited",
]


class TokenSource(StrEnum):
    """Who wrote a token of the caption."""

    DRAFTED = "drafted"
    """The device; nobody checked it. It may have left as context: see
    ``DecodedToken.disclosed``."""
    VERIFIED = "verified"
    """The device; the verifier accepted it."""
    CORRECTED = "corrected"
    """The verifier, in place of a token that it rejected."""
    CONTINUED = "continued"
    """The verifier, going on after its correction or after an accepted block."""


class Outcome(StrEnum):
    """What became of a drafted block."""

    LOCAL = "kept"
    """The policy kept it here."""
    SENT = "sent"
    """It left, whether or not a verdict came back."""
    BLOCKED = "withheld"
    """The policy wanted it checked; a cap, a deadline or a fault kept it here."""
    VERIFIER_DISABLED = "alone"
    """It was not judged: an earlier block was withheld or left in vain."""


@dataclass(frozen=True)
class BlockOutcome:
    """A drafted block, and why it was escalated or not."""

    start: int
    """Position of its first token."""
    num_tokens: int
    uncertainty: float
    """That of its least sure token."""
    outcome: Outcome
    reason: str
    """In words for the owner; it quotes no token."""


@dataclass(frozen=True)
class DecodedToken:
    """A token of the caption and where it comes from."""

    token: int
    source: TokenSource
    uncertainty: float | None
    """The drafter's; ``None`` where the verifier wrote the token."""
    disclosed: bool
    """Whether the device sent this token; False where the verifier wrote it."""
    replaced: tuple[int, ...] = ()
    """Draft tokens that left and that the verifier replaced from here on."""


@dataclass(frozen=True)
class DecodingCounts:
    """What a caption cost, in tokens. The end marker counts as a token."""

    num_blocks: int
    """Escalated blocks that left."""
    num_tokens: int
    """Tokens in them."""
    num_drafted_tokens: int
    """Tokens in all blocks, escalated or not; speculative work that was dropped is not counted."""
    num_disclosed_tokens: int
    """Distinct positions whose token left, prefixes included."""
    num_disclosed_states: int
    """Distinct positions whose state left."""


@dataclass(frozen=True)
class EscalationRequested:
    """Seal and send this, then call ``advance()``; or call ``withheld()`` where nothing left."""

    escalation: Escalation


@dataclass(frozen=True)
class VerdictAwaited:
    """Nothing more can be drafted: call ``verdict()`` or, without one in time, ``unanswered()``."""


@dataclass(frozen=True)
class Finished:
    """The caption is complete."""

    tokens: tuple[DecodedToken, ...]
    """The end marker, where there is one, is the last."""
    counts: DecodingCounts
    blocks: tuple[BlockOutcome, ...] = ()
    """In their order; tokens that the verifier wrote are in none."""


Event = EscalationRequested | VerdictAwaited | Finished
