"""The measures of one recording's speech."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Changes", "Emphasis", "Pause", "Prosody"]


@dataclass(frozen=True)
class Pause:
    """A pause between the first and the last speech of a recording."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Changes:
    """The last third of the speech minus its first third, pauses left out. ``None`` where one of
    them has too little to measure."""

    effort_db: float | None
    level_db: float
    pitch_st: float | None
    pace: float | None
    """Syllables per second."""
    final_pitch_st: float | None
    """Pitch at the very end minus the median, in semitones."""


@dataclass(frozen=True)
class Emphasis:
    """The strongest stress."""

    place: float
    """From 0, the first speech, to 1, the last."""
    prominence_db: float
    """How far it rises above the rest."""


@dataclass(frozen=True)
class Prosody:
    """What was measured of the speech in one recording. Nothing of it is sent."""

    speech_s: float
    """Seconds of speech without pauses."""
    start_s: float
    """Beginning of the first speech in the recording."""
    end_s: float
    """End of the last speech."""
    level_db: float
    """Level of the speech relative to full scale; it depends on the recording."""
    effort_db: float | None
    """Energy above 1 kHz over energy below, in voiced frames: it rises with vocal effort."""
    pitch_st: float | None
    """Median pitch in semitones above 100 Hz; ``None`` for a voice with too little of it, such as
    a whisper."""
    variation_st: float | None
    """Standard deviation of the pitch in semitones."""
    clarity_db: float | None
    """Cepstral peak prominence in voiced frames: low for breathy voices."""
    pace: float | None
    """Syllables per second of speech; ``None`` for too little speech."""
    pauses: tuple[Pause, ...]
    changes: Changes | None
    """``None`` if the speech is too short to have a change."""
    emphasis: Emphasis | None
