"""What the utterances of one channel measure, as numbers over time.

Only what captions hold: arousal and valence by the device's emotion, vocal effort, pitch and pace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.relations import (
    AROUSAL_ERROR,
    EFFORT_ERROR_DB,
    MIN_AROUSAL_DIFFERENCE,
    NOTICEABLE_EFFORT_DB,
    NOTICEABLE_PITCH_ST,
    PACE_ERROR,
    PITCH_ERROR_ST,
    noticeable_pace,
)
from ugsd_sdk.profile.clip_profile import ProfileUse

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption
    from ugsd_sdk.timelines.parts import TimelineUtterance

__all__ = ["AFFECT", "DELIVERY", "Measure", "Series", "clip_error", "noticeable"]

Float64 = NDArray[np.float64]
_OTHER_SPEAKERS = {ProfileUse.DIFFERENT_SPEAKER, ProfileUse.SEVERAL_SPEAKERS}


class Measure(StrEnum):
    """A number that is measured of each utterance."""

    AROUSAL = "arousal"
    """From -1, calm, to 1, agitated."""
    VALENCE = "valence"
    """From -1, unpleasant, to 1, pleasant."""
    EFFORT = "effort"
    """Vocal effort in dB."""
    PITCH = "pitch"
    """In semitones above 100 Hz."""
    PACE = "pace"
    """In syllables per second."""


AFFECT = (Measure.AROUSAL, Measure.VALENCE)
DELIVERY = (Measure.PITCH, Measure.PACE, Measure.EFFORT)
"""What depends on who speaks."""
_ERRORS = {
    Measure.AROUSAL: AROUSAL_ERROR,
    Measure.VALENCE: AROUSAL_ERROR,
    Measure.EFFORT: EFFORT_ERROR_DB,
    Measure.PITCH: PITCH_ERROR_ST,
    Measure.PACE: PACE_ERROR,
}
_NOTICEABLE = {
    Measure.AROUSAL: MIN_AROUSAL_DIFFERENCE,
    Measure.VALENCE: MIN_AROUSAL_DIFFERENCE,
    Measure.EFFORT: NOTICEABLE_EFFORT_DB,
    Measure.PITCH: NOTICEABLE_PITCH_ST,
}


def clip_error(measure: Measure) -> float:
    """Return the standard error of one utterance's measure."""
    return _ERRORS[measure]


def noticeable(measure: Measure, before: float) -> float:
    """Return the difference from ``before`` that a listener notices."""
    return noticeable_pace(before) if measure is Measure.PACE else _NOTICEABLE[measure]


@dataclass(frozen=True)
class Series:
    """The utterances of one channel whose speaker is the channel's, in order."""

    positions: tuple[int, ...]
    """Their numbers among all utterances of the channel."""
    starts_s: Float64
    ends_s: Float64
    speech_s: Float64
    """Seconds of speech in each."""
    emotions: tuple[str | None, ...]
    values: dict[Measure, Float64]
    """Each measure (n,), NaN where it is not known. Only those of one speaker are compared, so that
    a channel of several speakers has no pitch, pace and effort."""

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def of(cls, utterances: Sequence[TimelineUtterance], *, is_one_speaker: bool) -> Series:
        """Return what is measured of a channel. Utterances of others than the channel's speaker are
        left out."""
        kept = [
            (position, one)
            for position, one in enumerate(utterances)
            if one.caption.profile.use not in _OTHER_SPEAKERS or not is_one_speaker
        ]
        of_speaker = [one for _, one in kept]
        measures = (*AFFECT, *DELIVERY) if is_one_speaker else AFFECT
        return cls(
            positions=tuple(position for position, _ in kept),
            starts_s=np.array([one.start_s for one in of_speaker]),
            ends_s=np.array([one.end_s for one in of_speaker]),
            speech_s=np.array([one.caption.speech.duration_s for one in of_speaker]),
            emotions=tuple(one.caption.attributes.emotion.value for one in of_speaker),
            values={
                measure: np.array(
                    [_value(one.caption, measure) for one in of_speaker], dtype=np.float64
                )
                for measure in measures
            },
        )

    def emotion_shares(self, part: slice = slice(None)) -> dict[str, float]:
        """Return the share of the speech in ``part`` that sounds like each emotion, the largest
        first. Speech without an emotion counts in the whole."""
        seconds: dict[str, float] = {}
        for emotion, speech_s in zip(self.emotions[part], self.speech_s[part], strict=True):
            if emotion is not None:
                seconds[emotion] = seconds.get(emotion, 0.0) + float(speech_s)
        whole = float(self.speech_s[part].sum()) or 1.0
        ordered = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
        return {emotion: sum_s / whole for emotion, sum_s in ordered}

    def main_emotion(self, part: slice = slice(None)) -> str | None:
        """Return the emotion of more than half of the speech in ``part``, if there is one."""
        return next((one for one, share in self.emotion_shares(part).items() if share > 0.5), None)


def _value(caption: Caption, measure: Measure) -> float:
    attributes = caption.attributes
    value = {
        Measure.AROUSAL: attributes.arousal,
        Measure.VALENCE: attributes.valence,
        Measure.EFFORT: attributes.loudness.measured,
        Measure.PITCH: attributes.pitch.measured,
        Measure.PACE: attributes.pace.measured,
    }[measure]
    return np.nan if value is None else value
