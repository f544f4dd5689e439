"""The contents of a speaker profile: how a speaker's voice usually sounds.

Speakers differ above all in the average of their audio embeddings. The device subtracts the
speaker's own average from an embedding before it computes a state, so a state describes how a clip
differs from the speaker's usual voice: more about the feeling and less about the person (speaker
normalisation; ``ugsd-lab attack`` measures how much less).

It also holds the averages of pitch, pace and vocal effort, so that a caption can say that a clip is
higher or faster than usual.

An average of audio embeddings is similar to a voiceprint. Nothing of a profile is ever sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.profile.usual_prosody import NO_PROSODY, UsualProsody
from ugsd_sdk.prosody.prosody import Prosody

__all__ = ["EMPTY_PROFILE", "MEMORY_CLIPS", "RECENT_CLIPS", "ClipVoice", "SpeakerProfile"]

Float32 = NDArray[np.float32]

MEMORY_CLIPS = 50
"""Number of clips in the averages. Older ones fade, so that they follow a change of voice,
microphone or room."""
RECENT_CLIPS = 10
"""Number of clips whose embeddings are kept, so that the same recording does not count twice."""
_PRIOR_CLIPS = 2


def _nothing() -> Float32:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ClipVoice:
    """The voice in one clip, as a profile stores it. It is never sent."""

    embedding: Float32
    """(E,) the audio embedding, from which no profile was subtracted."""
    duration_s: float = 0.0
    """Seconds of speech."""
    voice: Float32 | None = None
    """(V,) the voice vector, which describes the speaker and not the feeling. Those of two clips of
    one speaker are rarely farther apart than 1. ``None`` for a drafter without voice vectors."""
    windows: Float32 | None = None
    """(w, V) the voice vectors of consecutive windows, w >= 1; ``None`` without voice vectors."""
    femininity: float | None = None
    """Log-odds that the voice sounds female; ``None`` if the drafter does not say."""
    prosody: Prosody | None = None
    """What the device measured of the speech; ``None`` if it did not."""


@dataclass(frozen=True, eq=False)
class SpeakerProfile:
    """What a profile knows of its speaker's clips, at one moment."""

    count: int
    """Number of clips that were added, 0 or more."""
    mean: Float32
    """(E,) the average audio embedding; of length 0 if there was no clip."""
    duration_s: float = 0.0
    """Seconds of speech in the clips that were added."""
    voice: Float32 = field(default_factory=_nothing)
    """(V,) the average voice vector; of length 0 if there is none."""
    recent: Float32 = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """(k, E) the embeddings of the last clips, the newest last."""
    femininity: float | None = None
    """The average log-odds that the voice sounds female; ``None`` if unknown."""
    usual: UsualProsody = NO_PROSODY
    """Usual pitch, pace and vocal effort."""

    @property
    def weight(self) -> float:
        """Weight of the average, from 0 to 1; 0.5 for two clips."""
        return self.count / (self.count + _PRIOR_CLIPS)

    @property
    def num_averaged(self) -> int:
        """Number of clips that the averages are worth, at most :data:`MEMORY_CLIPS`."""
        return min(self.count, MEMORY_CLIPS)

    def updated(self, clip: ClipVoice) -> SpeakerProfile:
        """Return the profile with one more clip. Whether the clip belongs to it is decided by
        :func:`~ugsd_sdk.profile.matching.profile_after`."""
        share = np.float32(1 / min(self.count + 1, MEMORY_CLIPS))
        embedding = clip.embedding.astype(np.float32)
        if not self.count:
            mean, recent = embedding, embedding[None]
        else:
            mean = self.mean + share * (embedding - self.mean)
            recent = np.concatenate([self.recent.reshape(-1, len(embedding)), embedding[None]])
        return SpeakerProfile(
            count=self.count + 1,
            mean=mean,
            duration_s=self.duration_s + clip.duration_s,
            voice=_averaged(self.voice, clip.voice, share),
            recent=recent[-RECENT_CLIPS:],
            femininity=self.femininity_with(clip),
            usual=self.usual.updated(clip.prosody, memory_clips=MEMORY_CLIPS),
        )

    def femininity_with(self, clip: ClipVoice) -> float | None:
        """Return the average log-odds with those of one more clip."""
        if self.femininity is None or clip.femininity is None:
            return clip.femininity if self.femininity is None else self.femininity
        share = 1 / min(self.count + 1, MEMORY_CLIPS)
        return self.femininity + share * (clip.femininity - self.femininity)


def _averaged(mean: Float32, voice: Float32 | None, share: np.float32) -> Float32:
    if voice is None:
        return mean
    if mean.shape != voice.shape:
        return voice.astype(np.float32)
    return mean + share * (voice.astype(np.float32) - mean)


EMPTY_PROFILE = SpeakerProfile(0, _nothing())
"""The profile of a speaker without clips."""
