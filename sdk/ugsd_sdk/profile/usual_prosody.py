"""How a speaker usually sounds, in numbers: running statistics of pitch, pace and vocal effort.

Each measure has its own number of clips, because a clip may lack one: a whisper has no pitch, and a
single word has no pace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ugsd_sdk.prosody.prosody import Prosody

__all__ = ["MAX_MEASURE", "NO_PROSODY", "UsualMeasure", "UsualProsody"]

MAX_MEASURE = 1000.0
"""Largest magnitude of a measured number; a clip with a larger one does not count."""


@dataclass(frozen=True)
class UsualMeasure:
    """Running statistics of one measure."""

    count: int = 0
    """Number of clips that had the measure."""
    mean: float = 0.0
    mean_square_deviation: float = 0.0
    """The mean square deviation from the mean, without a correction for few clips."""

    @property
    def spread(self) -> float:
        """Standard deviation, corrected for few clips (Bessel); 0 for fewer than two."""
        if self.count < 2:
            return 0.0
        return math.sqrt(self.mean_square_deviation * self.count / (self.count - 1))

    def updated(self, value: float | None, *, memory_clips: int) -> UsualMeasure:
        """Return the statistics with one more clip; unchanged if it lacks the measure.

        The recurrence of Welford (1962), in which a new clip never has a share of less than one in
        ``memory_clips``, so that older ones fade.
        """
        if value is None or not abs(value) <= MAX_MEASURE:  # negated: not a number does not count
            return self
        share = 1 / min(self.count + 1, memory_clips)
        difference = value - self.mean
        return UsualMeasure(
            count=self.count + 1,
            mean=self.mean + share * difference,
            mean_square_deviation=(1 - share)
            * (self.mean_square_deviation + share * difference**2),
        )


@dataclass(frozen=True)
class UsualProsody:
    """The usual pitch, pace and vocal effort of a speaker, with how much they vary from clip to
    clip. It is part of the speaker profile, and never sent."""

    pitch_st: UsualMeasure = UsualMeasure()
    """Median pitch of the clips, in semitones above 100 Hz."""
    pace: UsualMeasure = UsualMeasure()
    """Syllables per second of speech."""
    effort_db: UsualMeasure = UsualMeasure()
    """Vocal effort: energy above 1 kHz over energy below."""

    def updated(self, prosody: Prosody | None, *, memory_clips: int) -> UsualProsody:
        """Return the statistics with one more clip; a measure that it lacks does not count."""
        if prosody is None:
            return self
        return UsualProsody(
            pitch_st=self.pitch_st.updated(prosody.pitch_st, memory_clips=memory_clips),
            pace=self.pace.updated(prosody.pace, memory_clips=memory_clips),
            effort_db=self.effort_db.updated(prosody.effort_db, memory_clips=memory_clips),
        )


NO_PROSODY = UsualProsody()
"""The statistics of a speaker of whom nothing was measured."""
