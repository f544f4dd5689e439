"""Events of the decoder for its driver, and the decoded caption."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ugsd_privacy.reasons import Reason

if TYPE_CHECKING:
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
    """The origin of a token of the caption."""

    DRAFTED = "drafted"
    """Written by the device and not verified. It may have been sent as context: see
    ``DecodedToken.disclosed``."""
    VERIFIED = "verified"
    """Written by the device and accepted by the verifier."""
    CORRECTED = "corrected"
    """Decided by the verifier in place of what it rejected. Of a question it chose the emotion, and
    the device words it; in a block of tokens it is the verifier's own token."""
    CONTINUED = "continued"
    """Written by the verifier after its correction or after an accepted block of tokens."""


class Outcome(StrEnum):
    """The outcome of a drafted block."""

    LOCAL = "local"
    """The policy kept the block on the device."""
    SENT = "sent"
    """The block was sent, whether or not a verdict came back."""
    BLOCKED = "blocked"
    """The policy escalated the block, but a cap, a deadline or a fault blocked it."""
    VERIFIER_DISABLED = "verifier_disabled"
    """The policy was not asked, because an earlier block was blocked or unanswered."""


@dataclass(frozen=True)
class BlockOutcome:
    """A drafted block with the reason why it was escalated or not."""

    start: int
    """Position of its first token."""
    num_tokens: int
    uncertainty: float | None
    """The highest uncertainty of its tokens; ``None`` if no verifier judges them."""
    outcome: Outcome
    reason: Reason
    """The cause of the decision or of the failure. It contains no token."""


@dataclass(frozen=True)
class DecodedToken:
    """A token of the caption with its origin."""

    token: int
    source: TokenSource
    uncertainty: float | None
    """The drafter's uncertainty; ``None`` if the verifier decided the token, or if the token states
    what the device measured."""
    disclosed: bool
    """Whether the device sent this token; False if the verifier decided it."""
    replaced: tuple[int, ...] = ()
    """Drafted tokens that were sent and that the verifier replaced from here on."""


@dataclass(frozen=True)
class DecodingCounts:
    """Counts of one caption's blocks, tokens and states. The end marker counts as a token."""

    num_blocks: int
    """Blocks that were sent."""
    num_tokens: int
    """Tokens in these blocks."""
    num_drafted_tokens: int
    """Tokens in all blocks, escalated or not, without dropped speculative tokens."""
    num_disclosed_tokens: int
    """Distinct positions whose token was sent, including prefixes."""
    num_disclosed_states: int
    """Distinct positions whose state was sent."""

    @classmethod
    def none(cls) -> DecodingCounts:
        """Return the counts of a caption for which nothing was drafted."""
        return cls(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class EscalationRequested:
    """Seal and send ``escalation``, then call ``advance()``. If nothing was sent, call
    ``escalation_blocked()``."""

    escalation: Escalation


@dataclass(frozen=True)
class VerdictAwaited:
    """Nothing more can be drafted: call ``receive_verdict()``, or ``verdict_missed()`` without a
    verdict in time."""


@dataclass(frozen=True)
class Finished:
    """The caption is complete."""

    tokens: tuple[DecodedToken, ...]
    """All tokens; the end marker, if there is one, is the last."""
    counts: DecodingCounts
    blocks: tuple[BlockOutcome, ...] = ()
    """The drafted blocks in order; tokens that the verifier wrote are in none of them."""
    has_sent_draft_weights: bool = False
    """Whether a block was sent with the probabilities of the values."""


Event = EscalationRequested | VerdictAwaited | Finished
