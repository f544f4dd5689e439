"""The result: what a voice sounds like, who wrote which word, and what it cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reasons import Reason, reason_text

from ugsd_sdk.decoding.events import BlockOutcome, Outcome, TokenSource

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


def _reason_fields(reason: Reason) -> dict[str, Any]:
    return reason.to_fields() | {"text": reason_text(reason)}


def _read_reason(given: object) -> Reason:
    if isinstance(given, Reason):
        return given
    if not isinstance(given, Mapping):
        raise ValueError("a reason is an object with a code")  # noqa: TRY004  # pydantic's rule
    return Reason.from_fields({name: value for name, value in given.items() if name != "text"})


_Reason = Annotated[
    Reason,
    PlainValidator(_read_reason, json_schema_input_type=dict[str, Any]),
    PlainSerializer(_reason_fields, return_type=dict[str, Any]),
]
"""As JSON, an object of the fields that are given and ``text``, which is derived from them."""


class _Result(BaseModel):
    # Numbers that are not finite are text in the JSON, which has no other word for them.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class CaptionToken(_Result):
    """One token of the caption's text."""

    text: str
    """With its leading space where it has one; empty where the token before it took its words,
    as "she" does those of "the speaker", and of an end that the verifier put in the place of words
    that were sent."""
    source: TokenSource
    uncertainty: Annotated[float, Field(ge=0)] | None
    """The drafter's, larger is less sure; ``None`` where the verifier wrote the token."""
    disclosed: bool
    """Whether the device sent it, as a neutral word."""
    replaced: str
    """Draft words that were sent and that the verifier replaced from here on, neutral as they were
    sent; mostly empty."""


class BlockDecision(_Result):
    """Why a drafted block was escalated, or was not."""

    start: _Count
    """Position of its first token."""
    num_tokens: _Count
    uncertainty: float
    """That of its least sure token, larger is less sure."""
    outcome: Outcome
    reason: _Reason
    """What decided, with its numbers; ``str()`` gives it in words."""

    @classmethod
    def of(cls, block: BlockOutcome) -> Self:
        """The decision on a block that the decoder judged."""
        return cls(
            start=block.start,
            num_tokens=block.num_tokens,
            uncertainty=block.uncertainty,
            outcome=block.outcome,
            reason=block.reason,
        )


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
    """A caption, its provenance and its cost.

    ``model_dump_json()`` is its stable form, and ``model_validate_json()`` gives an equal caption
    back.
    """

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
    unverified_reason: _Reason | None
    """Why tokens that were to be verified were not; ``None`` where all went as intended."""
    id: str | None
    """What the journal, and the log if any of it left, call the caption on this device, in hex;
    ``None`` without a verifier."""
    decisions: tuple[BlockDecision, ...]
    """Per drafted block, in order, why it was escalated or not."""


def escaped_path(path: str | os.PathLike[str]) -> str:
    """The path as text that any encoder takes: bytes that are no UTF-8 are escaped."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
