"""What an attacker sees of every clip: its audio embedding (positive control) or what was
disclosed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter import DrafterInfo
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

from ugsd_lab.attacks.disclosures import (
    Disclosed,
    EmbeddingDrafter,
    ReplayedDraft,
    StateEncoder,
    disclosed_of,
    draft_of,
)
from ugsd_lab.attacks.said import Measured, plans_of
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.models.embeddings import Progress

__all__ = [
    "EMBEDDING",
    "Disclosures",
    "Drafts",
    "Enrolment",
    "Observation",
    "Tried",
    "draft_clips",
    "drawn_profiles",
]

Float32 = NDArray[np.float32]
EMBEDDING = "evidence"
"""Name of the positive control, which sees the whole audio embedding. It is a value in reports."""


@dataclass(frozen=True)
class Observation:
    """What is seen of every clip, in one or several readings; each attacker tries all of them."""

    name: str
    """A :class:`Disclosure`, or :data:`EMBEDDING`."""
    profile: str
    """The enrolment with which it was made; empty if it cannot matter."""
    readings: Mapping[str, Float32]
    """Name -> (n, d) features."""

    @cached_property
    def digests(self) -> Mapping[str, bytes]:
        """Name -> SHA-256 of the features: equal for readings that say the same."""
        return {
            name: hashlib.sha256(
                f"{features.shape}".encode() + np.ascontiguousarray(features).tobytes()
            ).digest()
            for name, features in self.readings.items()
        }

    @property
    def digest(self) -> bytes:
        """Equal for observations that say the same."""
        return b"".join(name.encode() + digest for name, digest in self.digests.items())


_Result = TypeVar("_Result")


class Tried:
    """Results of attackers on readings, so that no reading is attacked twice in the same way."""

    def __init__(self) -> None:
        self._results: dict[tuple[object, ...], Any] = {}

    def result(
        self, seen: Observation, reading: str, attack: tuple[str, ...], run: Callable[[], _Result]
    ) -> _Result:
        """Return the result of ``attack`` on one reading; ``run`` it only the first time."""
        key = (*attack, seen.digests[reading])
        if key not in self._results:
            self._results[key] = run()
        result: _Result = self._results[key]
        return result


EnrolmentOrder = Literal["apart", "running", "at once"]


@dataclass(frozen=True)
class Enrolment:
    """The speaker profile that the device has when captions are made."""

    clips: int
    """The least number of earlier clips in the profile."""
    course: EnrolmentOrder = "apart"
    """Which captions of a user are compared. ``apart``: each has a profile of other clips, as
    captions made long after one another do. ``running``: a stream in which each clip enters the
    profile of the next, as on a device. ``at once``: all have one profile, as two captions in a row
    nearly do; the profile's error is then common to them and links them."""

    def __str__(self) -> str:
        more = "+" if self.course == "running" else ""
        return f"{self.clips}{more} {self.course}" if self.clips else "none"


def drawn_profiles(
    voices: Voices, embedding: Float32, known: Enrolment, *, seed: int = 0
) -> list[SpeakerProfile]:
    """Return a profile for each clip, of other clips of its speaker, in random order."""
    rng = np.random.default_rng((seed, known.clips))
    profiles = [EMPTY_PROFILE] * len(voices)
    if not known.clips:
        return profiles
    for speaker in sorted(set(voices.speaker.tolist())):
        own = rng.permutation(np.flatnonzero(voices.speaker == speaker))
        before = own[-known.clips :]
        running = _profile(embedding[before])
        for row in own.tolist():
            if known.course == "running":
                profiles[row], running = running, running.updated(ClipVoice(embedding[row]))
                continue
            others = own if known.course == "at once" else rng.permutation(own)
            profiles[row] = _profile(embedding[others[others != row][: known.clips]])
    return profiles


def _profile(embedding: Float32) -> SpeakerProfile:
    if not len(embedding):
        return EMPTY_PROFILE
    return SpeakerProfile(len(embedding), embedding.mean(axis=0).astype(np.float32))


@dataclass(frozen=True)
class Disclosures:
    """Everything that was disclosed of every clip with one enrolment, and what its caption says."""

    known: Enrolment
    said: Sequence[Mapping[Slot, str]]
    """The value of each slot that the whole caption states."""
    sent: Mapping[Disclosure, Sequence[Mapping[Slot, str]]]
    """The value of each slot that the question states."""
    disclosed: Mapping[Disclosure, Sequence[Disclosed]]

    def observation(self, disclosure: Disclosure, vocabulary: int) -> Observation:
        """Return what an attacker sees. ``vocabulary`` is the number of token ids."""
        disclosed = self.disclosed[disclosure]
        tokens = _bags([clip.tokens for clip in disclosed], vocabulary)
        numbers = np.hstack([_states_of(disclosed), _draft_weights_of(disclosed)])
        readings = {"tokens": tokens}
        if numbers.shape[1]:
            readings = {
                "states": numbers, "tokens": tokens,
                "tokens and states": np.hstack([tokens, numbers]),
            }  # fmt: skip
        return Observation(str(disclosure), str(self.known), readings)


@dataclass(frozen=True)
class Drafts:
    """What the drafter wrote of every clip with one enrolment, before anything is disclosed."""

    known: Enrolment
    info: DrafterInfo
    drafts: Sequence[ReplayedDraft]
    plans: Sequence[Mapping[Slot, str]]
    """The value of each measured slot that the whole caption states."""

    def disclosed(
        self, disclosures: Sequence[Disclosure], *, sigma: float | None = None
    ) -> Disclosures:
        """Compute what the clips disclose at each of ``disclosures``, with noise of ``sigma`` on
        states, or none."""
        encode = StateEncoder(sigma)
        said: list[Mapping[Slot, str]] = []
        sent: dict[Disclosure, list[Mapping[Slot, str]]] = {one: [] for one in disclosures}
        disclosed: dict[Disclosure, list[Disclosed]] = {one: [] for one in disclosures}
        for draft, plan in zip(self.drafts, self.plans, strict=True):
            for disclosure, clips in disclosed.items():
                clips.append(disclosed_of(draft, self.info, disclosure, encode))
                sent[disclosure].append(_emotion_in(clips[-1].tokens, self.info))
            said.append({**_emotion_in(draft.tokens, self.info), **plan})
        return Disclosures(self.known, said, sent, disclosed)


def draft_clips(
    drafter: EmbeddingDrafter,
    voices: Voices,
    measured: Measured,
    embedding: Float32,
    known: Enrolment,
    progress: Progress,
) -> Drafts:
    """Draft every clip with one enrolment."""
    profiles = drawn_profiles(voices, embedding, known)
    conditioned = list(map(drafter.condition, embedding, profiles))
    plans = plans_of(voices, measured, conditioned, enrolled=known.clips > 0)
    drafts = []
    for done, (one, plan) in enumerate(zip(conditioned, plans, strict=True), 1):
        drafts.append(draft_of(drafter, replace(one, plan=plan)))
        progress(f"drafting, profile {known}", done, len(profiles), "")
    return Drafts(known, drafter.info, drafts, [plan.values for plan in plans])


def _emotion_in(tokens: Sequence[int], info: DrafterInfo) -> dict[Slot, str]:
    emotion = None if info.slot_table is None else info.slot_table.emotion_in(tokens)
    return {} if emotion is None else {Slot.EMOTION: emotion}


def _bags(tokens: Sequence[Sequence[int]], vocabulary: int) -> Float32:
    """Return (n, v) counts of each token among those of a clip; tokens of no clip are left out."""
    bags = np.zeros((len(tokens), vocabulary), dtype=np.float32)
    for row, some in enumerate(tokens):
        np.add.at(bags[row], list(some), 1)
    return bags[:, bags.any(axis=0)]


def _states_of(disclosed: Sequence[Disclosed]) -> Float32:
    """Return the (n, B) first states; (n, 2 B) with the means if the states of a clip differ, and
    (n, 0) if none are disclosed. A clip without a state has zeros."""
    dim = disclosed[0].states.shape[1]
    if not any(len(clip.states) for clip in disclosed):
        return np.zeros((len(disclosed), 0), dtype=np.float32)
    first, mean = (np.zeros((len(disclosed), dim), dtype=np.float32) for _ in range(2))
    for row, clip in enumerate(disclosed):
        if len(clip.states):
            first[row], mean[row] = clip.states[0], clip.states.mean(axis=0)
    is_one = all((clip.states == clip.states[:1]).all() for clip in disclosed)
    return first if is_one else np.hstack([first, mean])


def _draft_weights_of(disclosed: Sequence[Disclosed]) -> Float32:
    """Return the (n, W) draft weights of the asked slot's values; (n, 0) if none are disclosed."""
    longest = max(len(clip.draft_weights) for clip in disclosed)
    weights = np.zeros((len(disclosed), longest), np.float32)
    for row, clip in enumerate(disclosed):
        weights[row, : len(clip.draft_weights)] = np.frombuffer(clip.draft_weights, dtype=np.uint8)
    return weights / np.float32(255)
