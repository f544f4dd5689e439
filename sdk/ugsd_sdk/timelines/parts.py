"""The parts of a timeline: utterances, arcs, turning points, and differences from the start."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ugsd_sdk.attributes.labels import attribute_label
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.caption import Caption
from ugsd_sdk.caption.parts import Count, Result, Share
from ugsd_sdk.exports.clock import clock
from ugsd_sdk.timelines.measures import Measure
from ugsd_sdk.timelines.phrases import joined

__all__ = [
    "ArcPoint",
    "Relation",
    "Seconds",
    "TimelineChannel",
    "TimelineNote",
    "TimelineUtterance",
    "TurningPoint",
]

_DECIMALS = 3


def _rounded(number: float) -> float:
    return round(number, _DECIMALS) + 0.0  # without the sign of zero


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_rounded)]
"""Seconds from the start of the recording, rounded to milliseconds."""
_Number = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_rounded)]


class TimelineNote(StrEnum):
    """What was found of the channels when they were read."""

    ONE_CHANNEL = "one_channel"
    """The recording has one channel, although channels apart were asked for."""
    SAME_SOUND = "same_sound"
    """All channels hold one sound, and were read as one."""
    SILENT_CHANNEL = "silent_channel"
    """A channel is silent beside the others (40 dB below the loudest), and was not read."""
    SPEAKERS_MIXED = "speakers_mixed"
    """Channels were read together without a profile: speakers are not told apart, and so pitch,
    pace and effort are not compared."""


class TimelineUtterance(Result):
    """One utterance and its caption."""

    start_s: Seconds
    end_s: Seconds
    caption: Caption
    """Times in it are those of the utterance, which begins at 0."""


class ArcPoint(Result):
    """The smoothed measures of a channel at one moment; null where nothing is known."""

    at_s: Seconds
    arousal: _Number | None = None
    """From -1, calm, to 1, agitated."""
    valence: _Number | None = None
    """From -1, unpleasant, to 1, pleasant."""
    effort: _Number | None = None
    """Vocal effort in dB, less that of the speaker's start."""
    pitch: _Number | None = None
    """Pitch in semitones, less that of the speaker's start."""
    pace: _Number | None = None
    """Syllables per second, less those of the speaker's start."""


class Relation(Result):
    """One way in which speech differs from earlier speech of the same channel."""

    value: str
    """A value of the attribute ``previous``: "calmer", "more_agitated", "higher", "lower",
    "faster", "slower", "louder" or "quieter"."""
    confidence: Share
    """The probability that the true difference is as large as a listener notices."""
    measure: Measure
    difference: _Number
    """The difference of the medians, in the unit of the measure."""

    @model_validator(mode="after")
    def _is_of_the_vocabulary(self) -> Self:
        if self.value not in SLOT_VALUES[Slot.PREVIOUS] or self.value == "same":
            raise ValueError("the value must be one of the attribute `previous`")
        return self

    @property
    def word(self) -> str:
        """The value in words: "more agitated"."""
        return self.value.replace("_", " ")


class TurningPoint(Result):
    """Where the way in which somebody speaks changes for good."""

    at_s: Seconds
    """Start of the first utterance after the change."""
    utterance: Count
    """The number of this utterance in its channel, from 0."""
    p_value: Share
    """Share of random orders, as correlated as the utterances, with a change as large."""
    relations: tuple[Relation, ...] = ()
    """How the speech after it differs from that before, up to the turning points next to it."""
    emotion_before: str | None = None
    """The emotion of more than half of the speech before it; null if there is none."""
    emotion_after: str | None = None

    @property
    def has_other_emotion(self) -> bool:
        """Whether the main emotion is another one afterwards."""
        return None not in (self.emotion_before, self.emotion_after) and (
            self.emotion_before != self.emotion_after
        )

    @property
    def is_stated(self) -> bool:
        """Whether there is anything to say of it; so of all in a timeline."""
        return bool(self.relations) or self.has_other_emotion

    def text(self) -> str:
        """Return the change in words: "from neutral to angry; louder than before"."""
        parts = []
        if self.has_other_emotion:
            parts.append(f"from {self.emotion_before} to {self.emotion_after}")
        if self.relations:
            *words, last = self.relations
            label = attribute_label("previous", last.value)
            parts.append(joined([*(one.word for one in words), label]))
        return "; ".join(parts)

    def __str__(self) -> str:
        return f"{clock(self.at_s)} {self.text()}"


class TimelineChannel(Result):
    """What happens in one channel."""

    label: str
    """Its name: "left", "right", "channel 3", "mono" or "mixed", or the one that was given."""
    speech_s: Seconds
    """Seconds of speech: the talk time."""
    speech_share: Share
    """Share of the recording in which the channel holds speech."""
    talk_share: Share | None
    """Share of the speech of all channels; null without any."""
    utterances: tuple[TimelineUtterance, ...] = ()
    arc: tuple[ArcPoint, ...] = ()
    turning_points: tuple[TurningPoint, ...] = ()
    end_from_start: tuple[Relation, ...] = ()
    """How the last fifth of the speaker's utterances differs from the first fifth."""
    summary: str
    """One to three sentences on the whole channel; "No speech." without any."""
