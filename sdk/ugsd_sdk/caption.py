"""The result: what a voice sounds like, who wrote which word, and what it cost."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from ugsd_privacy import dp
from ugsd_privacy.audit.receipts import Receipt

from ugsd_sdk.events import Outcome, Source

__all__ = [
    "BlockDecision",
    "Caption",
    "CaptionToken",
    "EscalationCost",
    "Guarantee",
    "Latency",
    "path_text",
]

_Count = Annotated[int, Field(ge=0)]
_Milliseconds = Annotated[float, Field(ge=0)]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptionToken(_Result):
    """One token of the caption's text."""

    text: str
    """With its leading space where it has one; empty where the token before it took its words,
    as "she" does those of "the speaker"."""
    source: Source
    uncertainty: Annotated[float, Field(ge=0)] | None
    """The drafter's, larger is less sure; ``None`` where the verifier wrote the token."""
    left: bool | None = Field(default=None, exclude=True)
    """Whether the device sent it, as a neutral word; not in the JSON, and unknown after reading
    that back."""
    replaced: str = Field(default="", exclude=True)
    """Draft words that left and that the verifier replaced from here on, neutral as they
    left; not in the JSON."""


class Guarantee(_Result):
    """What noise bounds of what a caption's states tell: :class:`ugsd_privacy.dp.Guarantee`, in
    JSON, or that there is none."""

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """``None`` where a state left without noise: then nothing is bounded."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    unit: dp.Unit
    """Whose states are counted together."""
    relation: str
    """Between which inputs the bound holds."""
    word: Literal["privacy", "noise", "none"]
    """``privacy`` up to epsilon 10, ``noise`` above, ``none`` without noise."""

    @classmethod
    def of(cls, spend: int, delta: float, unit: dp.Unit = "caption") -> Self:
        """Of an amount spent, as the ledger has it."""
        whole = dp.Guarantee(dp.epsilon_of_spend(spend, delta), delta, unit)
        is_bound = spend < dp.UNBOUNDED
        return cls(
            epsilon=whole.epsilon if is_bound else None,
            delta=delta,
            unit=unit,
            relation=whole.relation,
            word=whole.word if is_bound else "none",
        )

    def text(self) -> str:
        """In half a line, without the relation; epsilon is rounded up."""
        if self.epsilon is None:
            return "no guarantee (no noise)"
        whole = dp.Guarantee(self.epsilon, self.delta, self.unit, self.relation)
        return whole.text().partition(":")[0]


class BlockDecision(_Result):
    """Why a drafted block was escalated, or was not."""

    start: _Count
    """Position of its first token."""
    tokens: _Count
    uncertainty: float
    """That of its least sure token, larger is less sure."""
    outcome: Outcome
    reason: str
    """In words, with the numbers that decided."""


class EscalationCost(_Result):
    """What left the device for this caption. The end marker counts as a token."""

    blocks: _Count
    tokens: _Count
    """Tokens in the escalated blocks."""
    drafted_tokens: _Count
    """Tokens in all blocks, escalated or not; a block that was cut counts as cut."""
    disclosed_tokens: _Count
    """Distinct positions whose token left, prefixes included."""
    disclosed_states: _Count
    """Distinct positions whose state left."""
    frames: _Count
    bytes_sent: _Count
    """Of sealed frames, padding and covers included; the handshake is not one caption's."""
    bytes_received: _Count
    guarantee: Guarantee | None
    """Of the states that left; ``None`` where none did."""


class Latency(_Result):
    """Wall time in milliseconds."""

    total: _Milliseconds
    load: _Milliseconds
    """Of model and settings, told by the first caption after it and part of its ``total``."""
    encode: _Milliseconds
    """Reading the clip and listening to it."""
    draft: _Milliseconds
    wait: _Milliseconds
    """Waiting for the verifier with nothing else to do."""


class Caption(_Result):
    """A caption, its provenance and its cost. ``model_dump_json()`` is its stable form."""

    path: str | None
    """The clip's path, if it came from one, as :func:`path_text` writes it."""
    text: str
    tokens: tuple[CaptionToken, ...]
    """The tokens of ``text``; special tokens are left out."""
    escalation: EscalationCost
    latency_ms: Latency
    receipts: tuple[Receipt, ...]
    """One per frame: proof that the audit log has it."""
    degraded: str | None
    """Why tokens that were to be verified were not; ``None`` where all went as intended."""
    id: str | None
    """What the journal, and the log if any of it left, call the caption on this device, in hex;
    ``None`` without a verifier."""
    decisions: tuple[BlockDecision, ...]
    """Per drafted block, in order, why it was escalated or not."""


def path_text(path: str | os.PathLike[str]) -> str:
    """The path as text that any encoder takes: bytes that are no UTF-8 are escaped."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
