"""What an attacker sees of every clip: its audio embedding (positive control) or what was
disclosed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

from ugsd_lab.attacks.disclosures import Disclosed, EmbeddingDrafter, disclosures_of, draft_of
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.models.embeddings import Progress

__all__ = ["EMBEDDING", "Disclosures", "Enrolment", "Observation", "disclose", "drawn_profiles"]

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
                profiles[row], running = running, running.updated(embedding[row])
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
    """Everything that was disclosed of every clip with one enrolment, and the drafts."""

    known: Enrolment
    drafts: Sequence[tuple[int, ...]]
    disclosed: Mapping[Disclosure, Sequence[Disclosed]]
    """Disclosed to a verifier that wants to learn."""
    disclosed_first: Mapping[Disclosure, Sequence[Disclosed]]
    """Disclosed to a verifier that continues after the first block."""
    summaries: Float32
    """(n, B) the state of position 0, as it is on the device."""

    def observation(
        self, disclosure: Disclosure, vocabulary: int, *, first_only: bool = False
    ) -> Observation:
        """Return what an attacker sees. ``vocabulary`` is the number of token ids."""
        disclosed = (self.disclosed_first if first_only else self.disclosed)[disclosure]
        tokens = _bags([clip.tokens for clip in disclosed], vocabulary)
        readings = {"tokens": tokens}
        if disclosure is not Disclosure.TOKENS:
            several = disclosure is not Disclosure.SUMMARY
            states = np.stack([_states_of(clip, several=several) for clip in disclosed])
            readings = {"states": states, "tokens and states": np.hstack([tokens, states])}
        return Observation(str(disclosure), str(self.known), readings)


def disclose(
    drafter: EmbeddingDrafter,
    predictor: RejectionPredictor,
    voices: Voices,
    embedding: Float32,
    known: Enrolment,
    disclosures: Sequence[Disclosure],
    progress: Progress,
) -> Disclosures:
    """Draft every clip and compute what it discloses at each of ``disclosures``."""
    profiles = drawn_profiles(voices, embedding, known)
    drafts: list[tuple[int, ...]] = []
    summaries = []
    disclosed, disclosed_first = (
        {disclosure: list[Disclosed]() for disclosure in disclosures} for _ in range(2)
    )
    for done, (embedded, profile) in enumerate(zip(embedding, profiles, strict=True), 1):
        draft = draft_of(drafter, drafter.condition(embedded, profile), predictor)
        drafts.append(draft.tokens)
        summaries.append(draft.predictions[0].state)
        for continues, collected in ((False, disclosed), (True, disclosed_first)):
            sent = disclosures_of(
                draft, drafter.info, predictor.threshold, disclosures, continues=continues
            )
            for disclosure, clip in sent.items():
                collected[disclosure].append(clip)
        progress(f"drafting, profile {known}", done, len(profiles), "")
    return Disclosures(known, drafts, disclosed, disclosed_first, np.stack(summaries))


def _bags(tokens: Sequence[Sequence[int]], vocabulary: int) -> Float32:
    """Return (n, V) counts of each token among those of a clip."""
    bags = np.zeros((len(tokens), vocabulary), dtype=np.float32)
    for row, some in enumerate(tokens):
        np.add.at(bags[row], list(some), 1)
    return bags


def _states_of(clip: Disclosed, *, several: bool) -> Float32:
    """Return the (B,) first disclosed state; with ``several``, (2 B,) with the mean appended."""
    first: Float32 = clip.states[0]
    return np.concatenate([first, clip.states.mean(axis=0)]) if several else first
