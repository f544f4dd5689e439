"""Visits of people who are not named: the ways to caption them, and the clips of each visit.

A visit is some clips of one speaker in a row. An application does not recognise a person who comes
again, so every visit begins with nothing known of the speaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT, Enrolment
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

__all__ = ["CHOICES", "VISIT_CLIPS", "Choice", "profiles_in_visits", "visits_of"]

Float32 = NDArray[np.float32]

VISIT_CLIPS = 8
"""Clips of one visit."""


@dataclass(frozen=True)
class Choice:
    """A way to caption people who are not named."""

    name: str
    has_profile: bool
    """Whether each visit has a profile of its own."""
    enrolment: Enrolment

    @property
    def never_sends(self) -> bool:
        """Whether no state of a visit is ever sent."""
        reached = VISIT_CLIPS - 1 if self.has_profile else 0
        return self.enrolment.min_clips > reached

    @property
    def least_clips(self) -> int:
        """Number of the visit's clips before the first whose state may be sent."""
        return self.enrolment.min_clips if self.has_profile else 0


_AT_ONCE = Enrolment(min_clips=0, min_duration_s=0.0)
CHOICES = (
    Choice("no profile (default)", has_profile=False, enrolment=DEFAULT_ENROLMENT),
    Choice(
        "profile of the visit, nothing sent",
        has_profile=True,
        enrolment=Enrolment(min_clips=VISIT_CLIPS, min_duration_s=0.0),
    ),
    Choice("no profile, min_enrolment = 0", has_profile=False, enrolment=_AT_ONCE),
    Choice("profile of the visit, min_enrolment = 0", has_profile=True, enrolment=_AT_ONCE),
    Choice(
        "profile of the visit, min_enrolment = 1",
        has_profile=True,
        enrolment=Enrolment(min_clips=1, min_duration_s=0.0),
    ),
    Choice("profile of the visit, defaults", has_profile=True, enrolment=DEFAULT_ENROLMENT),
)

_Item = TypeVar("_Item")


def visits_of(clips: Sequence[_Item], count: int, rng: np.random.Generator) -> list[list[_Item]]:
    """Draw ``count`` visits of one speaker: each has different clips, in random order."""
    size = min(VISIT_CLIPS, len(clips))
    return [[clips[at] for at in rng.choice(len(clips), size, replace=False)] for _ in range(count)]


def profiles_in_visits(
    speakers: NDArray[np.str_], embeddings: Float32, *, seed: int = 0
) -> list[SpeakerProfile]:
    """Divide all clips of each speaker into visits, and return the profile of the visit that the
    device has before each clip; ``speakers`` is (n,) and ``embeddings`` is (n, E)."""
    rng = np.random.default_rng(seed)
    profiles = [EMPTY_PROFILE] * len(speakers)
    for speaker in sorted(set(speakers.tolist())):
        own = rng.permutation(np.flatnonzero(speakers == speaker)).tolist()
        for start in range(0, len(own), VISIT_CLIPS):
            rows = own[start : start + VISIT_CLIPS]
            for row, before in zip(rows, _running(embeddings[rows]), strict=True):
                profiles[row] = before
    return profiles


def _running(embeddings: Iterable[Float32]) -> Iterable[SpeakerProfile]:
    profile = EMPTY_PROFILE
    for embedding in embeddings:
        yield profile
        profile = profile.updated(ClipVoice(embedding))
