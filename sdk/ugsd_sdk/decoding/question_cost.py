"""What a question would use of a budget, estimated before it is built."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError
from ugsd_privacy.budget import Usage
from ugsd_privacy.dp.accounting import block_privacy_cost
from ugsd_privacy.dp.mechanism import exponent_of
from ugsd_privacy.errors import WireError
from ugsd_privacy.protocol.channel import frame_size
from ugsd_privacy.protocol.messages import AskedSlot, Block, Disclosure, encode
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from ugsd_sdk.decoding.policy import BlockView, Escalate

__all__ = ["QuestionCost"]

_WIDEST_TOKEN = 2**16 - 1
"""Stands for a token that is not known here; it takes the most bytes."""
_NUM_VALUES = 8
"""About as many draft weights as a slot has values."""


@dataclass(frozen=True)
class QuestionCost:
    """Estimates the cost of questions by the size of a message like theirs."""

    state_dim: int
    slot: AskedSlot = AskedSlot.ANY_TOKEN
    sigma: float | None = None
    """Standard deviation of the noise on states, as for the egress."""
    traffic_shape: TrafficShape = TrafficShape.PADDED

    def __call__(self, block: BlockView, decision: Escalate) -> Usage | None:
        """Return what asking uses beyond what the caption uses anyway; ``None`` if no frame holds
        the question.

        In constant shape every caption sends a frame, so that a question adds neither frames nor
        bytes.
        """
        is_whole = decision.tokens is None or self.slot is not AskedSlot.ANY_TOKEN
        num_tokens = len(block.uncertainties) if is_whole else max(1, decision.tokens or 0)
        num_states = _num_states(block, decision.disclosure, num_tokens)
        has_draft_weights = decision.disclosure is Disclosure.DISTRIBUTIONS
        disclosed = Usage(
            blocks=1,
            tokens=block.num_unknown_before + num_tokens,
            privacy_cost=block_privacy_cost(
                self.sigma, num_states=num_states, has_draft_weights=has_draft_weights
            ),
        )
        if self.traffic_shape is TrafficShape.CONSTANT:
            return disclosed
        tokens = (*block.tokens, *[_WIDEST_TOKEN] * num_tokens)[:num_tokens]
        try:
            message = Block(
                caption=0,
                slot=self.slot,
                tokens=tokens,
                prefix=(_WIDEST_TOKEN,) * block.num_unknown_before,
                state_positions=tuple(range(num_states)),
                states=bytes(num_states * self.state_dim),
                exponent=0 if self.sigma is None or not num_states else exponent_of(self.sigma),
                draft_weights=b"\x01" * _NUM_VALUES * has_draft_weights,
            )
            size = frame_size(len(encode(message)), self.traffic_shape)
        except (ValidationError, WireError):
            return None
        return disclosed + Usage(frames=1, bytes=size)


def _num_states(block: BlockView, disclosure: Disclosure, num_tokens: int) -> int:
    match disclosure:
        case Disclosure.TOKENS:
            return 0
        case Disclosure.BLOCK_STATES:
            return num_tokens
        case Disclosure.ALL_STATES:
            return block.num_unknown_before + num_tokens
        case _:
            return 0 if block.verifier_has_summary else 1
