"""Users' habits, as a device comes to know them from recordings of a corpus' speakers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
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
"""How many clips the device hears of a user before a state of theirs may leave."""

_UNENROLLED_SHARE = 0.2
"""Share of a drafter's training examples in which nothing is known of the speaker's habit."""
_HEARD_BEFORE = (3, 5, 8, 12, 20, 50)


def in_recording_order(clips: Sequence[Clip]) -> list[int]:
    """Indices of ``clips`` speaker by speaker, each speaker's in the order in which a device is
    imagined to have heard them: a shuffle that depends on the clips' names alone."""

    def key(index: int) -> tuple[str, str, bytes]:
        clip = clips[index]
        return clip.corpus, clip.speaker, hashlib.sha256(clip.id.encode()).digest()

    return sorted(range(len(clips)), key=key)


def running_profiles(
    clips: Sequence[Clip], heard: Sequence[NDArray[np.float32]] | NDArray[np.float32]
) -> list[SpeakerProfile]:
    """What a device that hears (n, E) evidence of one user per speaker, in
    :func:`by_hearing_order`, knows of the user before each clip."""
    profiles, last, profile = [EMPTY_PROFILE] * len(clips), None, EMPTY_PROFILE
    for index in in_recording_order(clips):
        speaker = (clips[index].corpus, clips[index].speaker)
        profile = profile if speaker == last else EMPTY_PROFILE
        profiles[index], last = profile, speaker
        profile = profile.updated(heard[index])
    return profiles


def clip_embedding(drafter: OnnxDrafter, clip: Clip) -> NDArray[np.float32]:
    """Return the audio embedding (E,) that a drafter's encoder makes of a clip's speech."""
    return drafter.embed(read_speech(clip))


class ProfileSampler:
    """Draws habits for training: averages of some other clips of the same speaker."""

    def __init__(self, clips: Sequence[Clip], heard: NDArray[np.float32]) -> None:
        """``heard`` is (n, E): evidence of the clips as they are."""
        self._heard = heard
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
        strangers: float = _UNENROLLED_SHARE,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, E) habits and (N,) how far to trust them, for the clips of ``rows``; of a share
        ``strangers`` nothing is known."""
        profiles = np.zeros((len(rows), self._heard.shape[1]), dtype=np.float32)
        trust = np.zeros(len(rows), dtype=np.float32)
        for place, row in enumerate(rows):
            others = self._others[row][self._others[row] != row]
            count = min(int(rng.choice(_HEARD_BEFORE)), len(others))
            if count and rng.random() >= strangers:
                profile = SpeakerProfile(
                    count, self._heard[rng.choice(others, count, replace=False)].mean(0)
                )
                profiles[place], trust[place] = profile.mean, profile.weight
        return profiles, trust
