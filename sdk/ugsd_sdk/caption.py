"""The result: what a voice sounds like, who wrote which word, and what it cost."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import Guarantee

from ugsd_sdk.decoding.events import Outcome, TokenSource

__all__ = [
    "BlockDecision",
    "Caption",
    "CaptionToken",
    "CaptionUsage",
    "Latency",
    "escaped_path",
]

_Count = Annotated[int, Field(ge=0)]
_Milliseconds = Annotated[float, Field(ge=0)]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptionToken(_Result):
    """One token of the caption's text."""

    text: str
    """With its leading space where it has one; empty where the token before it took its words,
    as "she" does those of "the speaker", and of an end that the verifier put in the place of words
    that were sent."""
    source: TokenSource
    uncertainty: Annotated[float, Field(ge=0)] | None
    """The drafter's, larger is less sure; ``None`` where the verifier wrote the token."""
    disclosed: bool | None = Field(default=None, exclude=True)
    """Whether the device sent it, as a neutral word; not in the JSON, and unknown after reading
    that back."""
    replaced: str = Field(default="", exclude=True)
    """Draft words that left and that the verifier replaced from here on, neutral as they
    left; not in the JSON."""


class BlockDecision(_Result):
    """Why a drafted block was escalated, or was not."""

    start: _Count
    """Position of its first token."""
    num_tokens: _Count
    uncertainty: float
    """That of its least sure token, larger is less sure."""
    outcome: Outcome
    reason: str
    """In words, with the numbers that decided."""


class CaptionUsage(_Result):
    """What left the device for this caption. The end marker counts as a token."""

    num_blocks: _Count
    num_tokens: _Count
    """Tokens in the escalated blocks."""
    num_drafted_tokens: _Count
    """Tokens in all blocks, escalated or not; a block that was cut counts as cut."""
    num_disclosed_tokens: _Count
    """Distinct positions whose token left, prefixes included."""
    num_disclosed_states: _Count
    """Distinct positions whose state left."""
    num_frames: _Count
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
    """The tokens of ``text``; special tokens are left out, unless they replaced words that were
    sent."""
    usage: CaptionUsage
    latency_ms: Latency
    receipts: tuple[Receipt, ...]
    """One per frame: proof that the audit log has it."""
    unverified_reason: str | None
    """Why tokens that were to be verified were not; ``None`` where all went as intended."""
    id: str | None
    """What the journal, and the log if any of it left, call the caption on this device, in hex;
    ``None`` without a verifier."""
    decisions: tuple[BlockDecision, ...]
    """Per drafted block, in order, why it was escalated or not."""


def escaped_path(path: str | os.PathLike[str]) -> str:
    """The path as text that any encoder takes: bytes that are no UTF-8 are escaped."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
