"""The result: how a voice sounds, the source of each word, and what was sent for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reasons import Reason, reason_text

from ugsd_sdk.decoding.events import BlockOutcome, Outcome, TokenSource
from ugsd_sdk.speech.spans import Speech

__all__ = [
    "NO_SPEECH",
    "BlockDecision",
    "Caption",
    "CaptionSpeech",
    "CaptionToken",
    "CaptionUsage",
    "Latency",
    "escaped_path",
]

NO_SPEECH = "No speech."
"""The text for a recording without a voice."""

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
_Milliseconds = Annotated[float, Field(ge=0)]


def _reason_fields(reason: Reason) -> dict[str, Any]:
    return reason.to_fields() | {"text": reason_text(reason)}


def _read_reason(given: object) -> Reason:
    if isinstance(given, Reason):
        return given
    if not isinstance(given, Mapping):
        raise ValueError("a reason must be an object with a code")  # noqa: TRY004  # pydantic's rule
    return Reason.from_fields({name: value for name, value in given.items() if name != "text"})


_Reason = Annotated[
    Reason,
    PlainValidator(_read_reason, json_schema_input_type=dict[str, Any]),
    PlainSerializer(_reason_fields, return_type=dict[str, Any]),
]
"""A reason; in JSON an object of its fields, with ``text`` derived from them."""


class _Result(BaseModel):
    # JSON has no infinity and NaN, so they are written as strings.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class CaptionToken(_Result):
    """One token of the caption."""

    text: str
    """The token's text with its leading space, if any. It is empty if the text belongs to the token
    before it, as with "she" for "the speaker", and for an end marker that replaced sent words."""
    source: TokenSource
    uncertainty: Annotated[float, Field(ge=0)] | None
    """The drafter's uncertainty, larger if less certain; ``None`` for the verifier's tokens."""
    disclosed: bool
    """Whether the device sent it, as a gender-neutral word."""
    replaced: str
    """Draft words that were sent and that the verifier replaced from here on, in the gender-neutral
    form that was sent; usually empty."""


class BlockDecision(_Result):
    """Why a drafted block was escalated or not."""

    start: _Count
    """Position of its first token."""
    num_tokens: _Count
    uncertainty: float
    """Uncertainty of its least certain token, larger if less certain."""
    outcome: Outcome
    reason: _Reason
    """Why the block was sent or not, with numbers; ``str()`` gives it in words."""

    @classmethod
    def of(cls, block: BlockOutcome) -> Self:
        """Return the decision on a block that the decoder judged."""
        return cls(
            start=block.start,
            num_tokens=block.num_tokens,
            uncertainty=block.uncertainty,
            outcome=block.outcome,
            reason=block.reason,
        )


class CaptionUsage(_Result):
    """What was sent for this caption. The end marker counts as a token."""

    num_blocks: _Count
    num_tokens: _Count
    """Tokens in the escalated blocks."""
    num_drafted_tokens: _Count
    """Tokens in all blocks, escalated or not; a shortened block counts as shortened."""
    num_disclosed_tokens: _Count
    """Number of distinct positions whose token was sent, prefixes included."""
    num_disclosed_states: _Count
    """Number of distinct positions whose state was sent."""
    num_frames: _Count
    bytes_sent: _Count
    """Bytes of sealed frames, with padding and cover frames, but without the handshake, which no
    single caption causes."""
    bytes_received: _Count
    guarantee: Guarantee | None
    """The differential privacy of the states that were sent; ``None`` if no state was sent."""


class CaptionSpeech(_Result):
    """Where the recording holds speech; the rest of it is not captioned."""

    share: Annotated[float, Field(ge=0, le=1)]
    """Share of the recording that is speech."""
    duration_s: _Seconds
    """Seconds of speech."""
    spans: tuple[tuple[_Seconds, _Seconds], ...]
    """Start and end of each utterance in seconds, in order. Short pauses are part of it."""

    @classmethod
    def of(cls, speech: Speech) -> Self:
        """Return what the voice activity detector found."""
        return cls(share=speech.share, duration_s=speech.duration_s, spans=speech.spans_s)


class Latency(_Result):
    """Wall time in milliseconds."""

    total: _Milliseconds
    load: _Milliseconds
    """Loading model and settings: only for the first caption, which includes it in ``total``."""
    encode: _Milliseconds
    """Reading the clip and encoding its audio."""
    draft: _Milliseconds
    wait: _Milliseconds
    """Waiting idly for the verifier."""


class Caption(_Result):
    """A caption, the sources of its words, and what was sent for it.

    ``model_dump_json()`` is its stable form; ``model_validate_json()`` returns an equal caption.
    """

    path: str | None
    """The clip's path, if it has one, as :func:`escaped_path` writes it."""
    text: str
    tokens: tuple[CaptionToken, ...]
    """The tokens of ``text``, without special tokens except those that replaced sent words."""
    is_truncated: bool
    """Whether the caption was cut at the drafter's longest caption."""
    speech: CaptionSpeech
    """What was captioned of the recording. Without a voice in it, ``text`` is "No speech."."""
    usage: CaptionUsage
    latency_ms: Latency
    receipts: tuple[Receipt, ...]
    """One receipt per frame, which proves that the audit log contains it."""
    unverified_reason: _Reason | None
    """Why tokens that should have been verified were not; ``None`` if nothing failed."""
    id: str | None
    """The caption's id in hex, as the journal and the log use it; ``None`` without a verifier."""
    decisions: tuple[BlockDecision, ...]
    """Why each drafted block was escalated or not, in order."""


def escaped_path(path: str | os.PathLike[str]) -> str:
    """Return the path as valid Unicode text; bytes that are not UTF-8 are escaped."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
