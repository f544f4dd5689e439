"""The parts of a caption: the source of each word, decisions, usage, speech and profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reasons import Reason, reason_text
from ugsd_privacy.strict_models import DescribedModel

from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.events import BlockOutcome, Outcome, TokenSource
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.profile.clip_profile import ClipProfile, ProfileUse
from ugsd_sdk.profile.matching import ProfileChange
from ugsd_sdk.speech.spans import Speech

__all__ = [
    "BlockDecision",
    "CaptionProfile",
    "CaptionSpeech",
    "CaptionToken",
    "CaptionUsage",
    "Count",
    "Latency",
    "ReasonField",
    "Result",
    "Share",
]

Count = Annotated[int, Field(ge=0)]
"""A number of things."""
_Seconds = Annotated[
    float, Field(ge=0, allow_inf_nan=False), AfterValidator(lambda seconds: round(seconds, 3))
]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda share: round(share, 3))]
"""A share or probability, rounded to three decimals."""
_Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_INFINITE = ("Infinity", "-Infinity")


def _read_infinity(given: object) -> object:
    return float(str(given)) if given in _INFINITE else given


_Number = Annotated[
    float,
    BeforeValidator(_read_infinity),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_INFINITE)}]}),
]
"""A number that may be infinite, which JSON writes as text."""


def _reason_fields(reason: Reason) -> dict[str, Any]:
    return reason.to_fields() | {"text": reason_text(reason)}


def _read_reason(given: object) -> Reason:
    if isinstance(given, Reason):
        return given
    if not isinstance(given, Mapping):
        raise ValueError("a reason must be an object with a code")  # noqa: TRY004  # pydantic's rule
    return Reason.from_fields({name: value for name, value in given.items() if name != "text"})


ReasonField = Annotated[
    Reason,
    PlainValidator(_read_reason, json_schema_input_type=dict[str, Any]),
    PlainSerializer(_reason_fields, return_type=dict[str, Any]),
]
"""A reason; in JSON an object of its fields, with ``text`` derived from them."""


class Result(DescribedModel):
    """Base of a caption and its parts: closed and frozen."""

    # JSON has no infinity, so it is written as text.
    model_config = ConfigDict(ser_json_inf_nan="strings")


class CaptionToken(Result):
    """One token of the caption."""

    text: str
    """The token's text with its leading space, if any. It is empty if the text belongs to the token
    before it, as with "she" for "the speaker", and for an end marker that replaced sent words."""
    source: TokenSource
    uncertainty: Annotated[_Number, Field(ge=0)] | None
    """The drafter's uncertainty, larger if less certain; ``None`` for tokens that the verifier
    decided, and for those that state what the device measured."""
    disclosed: bool
    """Whether the device sent it, as a gender-neutral word."""
    replaced: str
    """Draft words that were sent and that the verifier replaced from here on, in the gender-neutral
    form that was sent; usually empty."""
    slot: Slot | None = None
    """The clause that the token belongs to; ``None`` for a drafter without slots."""


class BlockDecision(Result):
    """Why a drafted block was escalated or not."""

    start: Count
    """Position of its first token."""
    num_tokens: Count
    uncertainty: _Number | None
    """Uncertainty of its least certain token, larger if less certain; ``None`` for tokens that no
    verifier judges."""
    outcome: Outcome
    reason: ReasonField
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


class CaptionUsage(Result):
    """What was sent for this caption. The end marker counts as a token."""

    num_blocks: Count = 0
    num_tokens: Count = 0
    """Tokens in the escalated blocks."""
    num_drafted_tokens: Count = 0
    """Tokens in all blocks, escalated or not; a shortened block counts as shortened."""
    num_disclosed_tokens: Count = 0
    """Number of distinct positions whose token was sent, prefixes included."""
    num_disclosed_states: Count = 0
    """Number of distinct positions whose state was sent."""
    num_frames: Count = 0
    bytes_sent: Count = 0
    """Bytes of sealed frames, with padding and cover frames, but without the handshake, which no
    single caption causes."""
    bytes_received: Count = 0
    guarantee: Guarantee | None = None
    """The differential privacy of the states that were sent; ``None`` if no state was sent."""

    def text(self) -> str:
        """Return what was sent in one line: "no block was sent" if nothing."""
        if not self.num_blocks:
            return "no block was sent"
        guarantee = "" if self.guarantee is None else f", {self.guarantee.text()}"
        tokens = _counted(self.num_disclosed_tokens, "token")
        states = _counted(self.num_disclosed_states, "state")
        return (
            f"{_counted(self.num_blocks, 'block')} sent: {tokens}, {states}{guarantee}, "
            f"{self.bytes_sent} bytes"
        )


class CaptionSpeech(Result):
    """Where the recording holds speech; the rest of it is not captioned."""

    share: Share
    """Share of the recording that is speech."""
    duration_s: _Seconds
    """Seconds of speech."""
    spans: tuple[tuple[_Seconds, _Seconds], ...]
    """Start and end of each utterance in seconds, in order. Short pauses are part of it."""

    @classmethod
    def of(cls, speech: Speech) -> Self:
        """Return what the voice activity detector found."""
        return cls(share=speech.share, duration_s=speech.duration_s, spans=speech.spans_s)


class CaptionProfile(Result):
    """Which part the speaker profile had in a caption."""

    use: ProfileUse
    change: ProfileChange
    """What the clip did to the profile."""
    num_clips: Count
    """Number of clips in the profile before this one."""
    duration_s: _Seconds
    """Seconds of speech in them."""
    has_set_aside: bool
    """Whether the profile began again, since the earlier one was made by another audio encoder or
    another release. The earlier file is kept beside it."""

    @classmethod
    def none(cls) -> Self:
        """Return the value for a caption without a profile."""
        return cls(
            use=ProfileUse.NONE,
            change=ProfileChange.NONE,
            num_clips=0,
            duration_s=0.0,
            has_set_aside=False,
        )

    @classmethod
    def of(cls, profile: ClipProfile, conditioned: ConditionedClip, change: ProfileChange) -> Self:
        """Return the part of ``profile`` in the caption of a clip."""
        return cls(
            use=profile.use(conditioned.voice, conditioned.profile_match),
            change=change,
            num_clips=profile.contents.count,
            duration_s=profile.contents.duration_s,
            has_set_aside=profile.has_set_aside,
        )


class Latency(Result):
    """Wall time in milliseconds."""

    total: _Milliseconds = 0.0
    load: _Milliseconds = 0.0
    """Loading model and settings: only for the first caption, which includes it in ``total``."""
    encode: _Milliseconds = 0.0
    """Reading the clip and encoding its audio."""
    draft: _Milliseconds = 0.0
    wait: _Milliseconds = 0.0
    """Waiting idly for the verifier."""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
