"""Speaker profiles, as a device would build them from recordings of a corpus' speakers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.settings.config import Settings

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.speech import read_speech

__all__ = [
    "MIN_ENROLMENT",
    "ProfileSampler",
    "clip_embedding",
    "in_recording_order",
    "running_profiles",
]

MIN_ENROLMENT: int = Settings.model_fields["min_enrolment"].default
"""How many clips of a user the device needs before it may send a state."""

_UNENROLLED_SHARE = 0.2
"""Share of a drafter's training examples without a speaker profile."""
_PROFILE_CLIPS = (3, 5, 8, 12, 20, 50)


def in_recording_order(clips: Sequence[Clip]) -> list[int]:
    """Return indices of ``clips`` speaker by speaker, each speaker's in the order in which a device
    is assumed to record them: a shuffle that depends on the clips' names alone."""

    def key(index: int) -> tuple[str, str, bytes]:
        clip = clips[index]
        return clip.corpus, clip.speaker, hashlib.sha256(clip.id.encode()).digest()

    return sorted(range(len(clips)), key=key)


def running_profiles(
    clips: Sequence[Clip], embeddings: Sequence[NDArray[np.float32]] | NDArray[np.float32]
) -> list[SpeakerProfile]:
    """Return the speaker profile before each clip, for a device with one user per speaker that gets
    (n, E) embeddings in :func:`in_recording_order`."""
    profiles, last, profile = [EMPTY_PROFILE] * len(clips), None, EMPTY_PROFILE
    for index in in_recording_order(clips):
        speaker = (clips[index].corpus, clips[index].speaker)
        profile = profile if speaker == last else EMPTY_PROFILE
        profiles[index], last = profile, speaker
        profile = profile.updated(ClipVoice(embeddings[index]))
    return profiles


def clip_embedding(drafter: OnnxDrafter, clip: Clip) -> NDArray[np.float32]:
    """Return the audio embedding (E,) that a drafter's encoder makes of a clip's speech."""
    return drafter.embed(read_speech(clip))


class ProfileSampler:
    """Draws profiles for training: averages of some other clips of the same speaker."""

    def __init__(self, clips: Sequence[Clip], embeddings: NDArray[np.float32]) -> None:
        """``embeddings`` is (n, E), of the clips without augmentation."""
        self._embeddings = embeddings
        names = [(clip.corpus, clip.speaker) for clip in clips]
        own: dict[tuple[str, str], list[int]] = {}
        for index, name in enumerate(names):
            own.setdefault(name, []).append(index)
        self._others = [np.array(own[name]) for name in names]

    def draw(
        self,
        rows: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        unenrolled_share: float = _UNENROLLED_SHARE,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (N, E) profiles and their (N,) weights for the clips of ``rows``. A share of
        ``unenrolled_share`` has no profile."""
        profiles = np.zeros((len(rows), self._embeddings.shape[1]), dtype=np.float32)
        weights = np.zeros(len(rows), dtype=np.float32)
        for place, row in enumerate(rows):
            others = self._others[row][self._others[row] != row]
            count = min(int(rng.choice(_PROFILE_CLIPS)), len(others))
            if count and rng.random() >= unenrolled_share:
                profile = SpeakerProfile(
                    count, self._embeddings[rng.choice(others, count, replace=False)].mean(0)
                )
                profiles[place], weights[place] = profile.mean, profile.weight
        return profiles, weights
