"""Whether a clip belongs to a speaker profile, and what the profile becomes with it.

Pure functions: the thresholds are the constants below, and nothing else decides. Where a drafter
has no voice vectors, speakers cannot be distinguished, and only the rule on repeated recordings
remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

__all__ = [
    "DEFAULT_ENROLMENT",
    "MAX_ENROLMENT_DISTANCE",
    "MAX_VOICE_DISTANCE",
    "MAX_WINDOW_DISTANCE",
    "SAME_RECORDING_DISTANCE",
    "Enrolment",
    "ProfileChange",
    "ProfileMatch",
    "has_several_speakers",
    "is_repeated",
    "match_profile",
    "profile_after",
    "voice_distance",
    "windows_distance",
]

Float32 = NDArray[np.float32]

MAX_VOICE_DISTANCE = 0.9
"""Largest distance between a clip's voice and a profile's. 98 % of the clips of speakers that the
voice vector was not fitted on are nearer (``ugsd-lab bench speakers --distances``)."""
MAX_ENROLMENT_DISTANCE = 0.7
"""Largest distance at which a clip is added to a profile that is not enrolled. 90 % of a speaker's
own clips are nearer. A restart costs a few clips, but a profile of two people would reveal both."""
MAX_WINDOW_DISTANCE = 1.2
"""Largest distance between the two voices into which a clip's windows are divided; 98 % of the
recordings of one speaker are nearer."""
SAME_RECORDING_DISTANCE = 0.03
"""Largest distance between the embeddings of one recording at two levels or with other silence
around it, relative to the embedding's norm."""
_DIVISION_STEPS = 8


class ProfileMatch(StrEnum):
    """How a clip relates to the speaker profile that was given for it."""

    NO_PROFILE = "no_profile"
    """There was no profile, or an empty one, and so nothing to compare with."""
    MATCHED = "matched"
    """The clip sounds like the profile's speaker, or its drafter cannot compare voices."""
    DIFFERENT_SPEAKER = "different_speaker"
    """The clip does not sound like the profile's speaker; the profile was not used."""
    SEVERAL_SPEAKERS = "several_speakers"
    """The clip itself sounds like more than one speaker; the profile was not used."""


class ProfileChange(StrEnum):
    """What a clip did to the speaker profile."""

    NONE = "none"
    """Nothing: there is no profile, it is frozen, or the clip does not belong to it."""
    ADDED = "added"
    """The clip was added, and counts towards enrolment."""
    RESTARTED = "restarted"
    """The clip sounds different from those of a profile that was not enrolled yet. They were
    dropped, and the profile began again with this clip."""
    REPEATED = "repeated"
    """Nothing: the profile already holds this recording, perhaps at another level."""


@dataclass(frozen=True)
class Enrolment:
    """What a profile needs before states of its speaker may be sent."""

    min_clips: int
    """Least number of clips; 0 if no enrolment is needed."""
    min_duration_s: float
    """Least seconds of speech in them."""

    def is_reached(self, profile: SpeakerProfile) -> bool:
        """Whether ``profile`` holds enough."""
        if not self.min_clips:
            return True
        return profile.count >= self.min_clips and profile.duration_s >= self.min_duration_s


DEFAULT_ENROLMENT = Enrolment(min_clips=3, min_duration_s=5.0)
"""The defaults of the settings ``min_enrolment`` and ``min_enrolment_s``."""


def match_profile(clip: ClipVoice, profile: SpeakerProfile) -> ProfileMatch:
    """Return whether ``clip`` belongs to the speaker of ``profile``."""
    if has_several_speakers(clip):
        return ProfileMatch.SEVERAL_SPEAKERS
    if not profile.count:
        return ProfileMatch.NO_PROFILE
    if clip.embedding.shape != profile.mean.shape:
        return ProfileMatch.DIFFERENT_SPEAKER
    if _is_farther(clip, profile, MAX_VOICE_DISTANCE):
        return ProfileMatch.DIFFERENT_SPEAKER
    windows = () if clip.windows is None else clip.windows
    # Negated, so that a distance that is not a number fits nobody.
    if any(not voice_distance(window, profile) <= MAX_WINDOW_DISTANCE for window in windows):
        return ProfileMatch.SEVERAL_SPEAKERS
    return ProfileMatch.MATCHED


def profile_after(
    clip: ClipVoice, profile: SpeakerProfile, enrolment: Enrolment
) -> tuple[SpeakerProfile, ProfileChange]:
    """Return what ``profile`` becomes with ``clip``, and the kind of change.

    An enrolled profile only grows by clips that belong to it. One that is not enrolled begins again
    with each clip whose voice is not clearly the same, so people whose voices differ never enrol it
    in turns (``ugsd-lab bench speakers``).
    """
    match = match_profile(clip, profile)
    if match is ProfileMatch.SEVERAL_SPEAKERS:
        return profile, ProfileChange.NONE
    if enrolment.is_reached(profile):
        if match is ProfileMatch.DIFFERENT_SPEAKER:
            return profile, ProfileChange.NONE
    elif profile.count and _is_farther(clip, profile, MAX_ENROLMENT_DISTANCE):
        return EMPTY_PROFILE.updated(clip), ProfileChange.RESTARTED
    if is_repeated(clip, profile):
        return profile, ProfileChange.REPEATED
    return profile.updated(clip), ProfileChange.ADDED


def _is_farther(clip: ClipVoice, profile: SpeakerProfile, distance: float) -> bool:
    """Return whether the voices are farther apart than ``distance``, or cannot be compared. Only a
    drafter without voice vectors compares nothing."""
    if clip.voice is None:
        return False
    if clip.voice.shape != profile.voice.shape:
        return True
    return not voice_distance(clip.voice, profile) <= distance  # also if it is not a number


def voice_distance(voice: Float32, profile: SpeakerProfile) -> float:
    """Return the distance of ``voice`` (V,) from the profile's average voice.

    It is scaled by the noise of both, so that it is comparable for every number of clips: for a
    profile of one clip it is the distance of two clips.
    """
    scale = np.sqrt((1 + 1 / profile.num_averaged) / 2)
    return float(np.linalg.norm(voice.astype(np.float64) - profile.voice) / scale)


def has_several_speakers(clip: ClipVoice) -> bool:
    """Return whether the clip's windows sound like more than one speaker."""
    return windows_distance(clip) > MAX_WINDOW_DISTANCE


def windows_distance(clip: ClipVoice) -> float:
    """Return the distance between the two voices into which the clip's windows are divided.

    Their voices are divided into two groups (2-means), and the groups' averages are compared,
    scaled by the noise of both. It is 0 if there are no two groups, as in a single window.
    """
    if clip.windows is None or len(clip.windows) < 2:
        return 0.0
    windows = clip.windows.astype(np.float64)
    is_second = _two_means(windows)
    count = int(is_second.sum())
    if not 0 < count < len(windows):
        return 0.0
    apart = np.linalg.norm(windows[is_second].mean(axis=0) - windows[~is_second].mean(axis=0))
    scale = np.sqrt((1 / count + 1 / (len(windows) - count)) / 2)
    return float(apart / scale)


def is_repeated(clip: ClipVoice, profile: SpeakerProfile) -> bool:
    """Return whether one of the profile's last clips is the same recording as ``clip``."""
    if not profile.count or profile.recent.shape[-1] != len(clip.embedding):
        return False
    embedding = clip.embedding.astype(np.float64)
    distances = np.linalg.norm(profile.recent - embedding, axis=1)
    return bool((distances <= SAME_RECORDING_DISTANCE * np.linalg.norm(embedding)).any())


def _two_means(windows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Divide (w, V) into two groups; return which rows (w,) are of the second. 2-means from the row
    that is farthest from the average and the one that is farthest from that."""
    first = windows[np.linalg.norm(windows - windows.mean(axis=0), axis=1).argmax()]
    second = windows[np.linalg.norm(windows - first, axis=1).argmax()]
    is_second = np.zeros(len(windows), dtype=bool)
    for _ in range(_DIVISION_STEPS):
        is_second = np.linalg.norm(windows - second, axis=1) < np.linalg.norm(
            windows - first, axis=1
        )
        if is_second.all() or not is_second.any():
            break
        first, second = windows[~is_second].mean(axis=0), windows[is_second].mean(axis=0)
    return is_second
