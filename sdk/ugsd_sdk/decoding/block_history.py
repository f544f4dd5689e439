"""What became of a caption's blocks, and what they disclosed in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ugsd_privacy.reasons import Reason

from ugsd_sdk.decoding.committed_tokens import DraftedToken
from ugsd_sdk.decoding.events import BlockOutcome, DecodingCounts, Outcome

if TYPE_CHECKING:
    from ugsd_privacy.egress import Escalation

__all__ = ["BlockHistory"]


class BlockHistory:
    """The blocks of one caption, in order."""

    def __init__(self) -> None:
        self.outcomes: list[BlockOutcome] = []
        self.has_sent_draft_weights = False
        """Whether a block was sent with the probabilities of the values."""
        self._num_drafted = self._num_blocks = self._num_escalated = 0
        self._tokens: set[int] = set()
        self._states: set[int] = set()

    @property
    def has_sent_summary(self) -> bool:
        """Whether the state of position 0 was sent."""
        return 0 in self._states

    def add_drafted(self, block: Sequence[DraftedToken]) -> None:
        """Count a block that the policy decided about, or that no verifier is asked about."""
        self._num_drafted += len(block)

    def add_outcome(
        self, start: int, block: Sequence[DraftedToken], outcome: Outcome, reason: Reason
    ) -> None:
        """Add the outcome of a block whose first token is at position ``start``."""
        judged = [float(one.uncertainty) for one in block if one.uncertainty is not None]
        uncertainty = max(judged, default=None)
        self.outcomes.append(BlockOutcome(start, len(block), uncertainty, outcome, reason))

    def add_sent(self, escalation: Escalation) -> None:
        """Count a block that was sent, and what was sent with it."""
        end = escalation.keep + len(escalation.prefix) + len(escalation.tokens)
        self._num_blocks += 1
        self._num_escalated += len(escalation.tokens)
        self._tokens |= set(range(escalation.keep, end))
        self._states |= set(escalation.state_positions)
        self.has_sent_draft_weights |= bool(escalation.draft_weights)

    def counts(self) -> DecodingCounts:
        """Return the counts of all blocks so far."""
        return DecodingCounts(
            num_blocks=self._num_blocks,
            num_tokens=self._num_escalated,
            num_drafted_tokens=self._num_drafted,
            num_disclosed_tokens=len(self._tokens),
            num_disclosed_states=len(self._states),
        )
