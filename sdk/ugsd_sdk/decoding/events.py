"""What the decoder asks of its driver, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ugsd_privacy.egress import Escalation
from ugsd_privacy.reasons import Reason

__all__ = [
    "DecodedToken",
    "EscalationDue",
    "Event",
    "Finished",
    "JudgedBlock",
    "Outcome",
    "Source",
    "Tally",
    "VerdictDue",
]


class Source(StrEnum):
    """Who wrote a token of the caption."""

    DRAFTED = "drafted"
    """The device; nobody checked it. It may have left as context: see ``DecodedToken.left``."""
    VERIFIED = "verified"
    """The device; the verifier accepted it."""
    CORRECTED = "corrected"
    """The verifier, in place of a token that it rejected."""
    CONTINUED = "continued"
    """The verifier, going on after its correction or after an accepted block."""


class Outcome(StrEnum):
    """What became of a drafted block."""

    KEPT = "kept"
    """The policy kept it here."""
    SENT = "sent"
    """It left, whether or not a verdict came back."""
    WITHHELD = "withheld"
    """The policy wanted it checked; a cap, a deadline or a fault kept it here."""
    ALONE = "alone"
    """It was not judged: an earlier block was withheld or left in vain."""


@dataclass(frozen=True)
class JudgedBlock:
    """A drafted block, and why it was escalated or not."""

    start: int
    """Position of its first token."""
    tokens: int
    uncertainty: float
    """That of its least sure token."""
    outcome: Outcome
    reason: Reason
    """What decided, or failed. It quotes no token."""


@dataclass(frozen=True)
class DecodedToken:
    """A token of the caption and where it comes from."""

    token: int
    source: Source
    uncertainty: float | None
    """The drafter's; ``None`` where the verifier wrote the token."""
    left: bool
    """Whether the device sent this token; False where the verifier wrote it."""
    replaced: tuple[int, ...] = ()
    """Draft tokens that left and that the verifier replaced from here on."""


@dataclass(frozen=True)
class Tally:
    """What a caption cost, in tokens. The end marker counts as a token."""

    blocks: int
    """Escalated blocks that left."""
    tokens: int
    """Tokens in them."""
    drafted_tokens: int
    """Tokens in all blocks, escalated or not; speculative work that was dropped is not counted."""
    disclosed_tokens: int
    """Distinct positions whose token left, prefixes included."""
    disclosed_states: int
    """Distinct positions whose state left."""


@dataclass(frozen=True)
class EscalationDue:
    """Seal and send this, then call ``advance()``; or call ``withheld()`` where nothing left."""

    escalation: Escalation


@dataclass(frozen=True)
class VerdictDue:
    """Nothing more can be drafted: call ``verdict()`` or, without one in time, ``unanswered()``."""


@dataclass(frozen=True)
class Finished:
    """The caption is complete."""

    tokens: tuple[DecodedToken, ...]
    """The end marker, where there is one, is the last."""
    tally: Tally
    blocks: tuple[JudgedBlock, ...] = ()
    """In their order; tokens that the verifier wrote are in none."""


Event = EscalationDue | VerdictDue | Finished
