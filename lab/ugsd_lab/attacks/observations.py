"""What an attacker has of every clip: evidence for the positive control, or what left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

from ugsd_lab.attacks.disclosures import Disclosed, Reader, disclosures_of, draft_of
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.models.embeddings import Progress

__all__ = ["EVIDENCE", "Disclosures", "Enrolment", "Observation", "disclose", "drawn_profiles"]

Float32 = NDArray[np.float32]
EVIDENCE = "evidence"
"""What is seen by the positive control: all that the drafter's ears hear."""


@dataclass(frozen=True)
class Observation:
    """The same of every clip, in one or several readings of which each attacker tries all."""

    name: str
    """A :class:`Disclosure`, or :data:`EVIDENCE`."""
    habit: str
    """The acquaintance with which it was made; empty where none could matter."""
    readings: Mapping[str, Float32]
    """(n, d) each, by name."""


EnrolmentOrder = Literal["apart", "running", "at once"]


@dataclass(frozen=True)
class Enrolment:
    """What the device knows of a user's habit when captions leave."""

    clips: int
    """How many earlier clips the habit holds, at least."""
    course: EnrolmentOrder = "apart"
    """Which captions of a user are compared. ``apart``: each with a habit of other clips, as
    captions long after one another are made. ``running``: a stream, in which each clip enters the
    habit of the next, as on a device. ``at once``: all with one habit, as two in a row nearly are:
    what the habit gets wrong is then common to them, and tells that they belong together."""

    def __str__(self) -> str:
        more = "+" if self.course == "running" else ""
        return f"{self.clips}{more} {self.course}" if self.clips else "none"


def drawn_profiles(
    voices: Voices, embedding: Float32, known: Enrolment, *, seed: int = 0
) -> list[SpeakerProfile]:
    """A habit for each clip, of other clips of its speaker, in an order drawn by lot."""
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
    """All that left of every clip with one acquaintance, and what was drafted."""

    known: Enrolment
    drafts: Sequence[tuple[int, ...]]
    left: Mapping[Disclosure, Sequence[Disclosed]]
    """To a verifier that wants to learn."""
    left_at_first: Mapping[Disclosure, Sequence[Disclosed]]
    """To one that writes on after the first block."""
    summaries: Float32
    """(n, B) the state of position 0, as it is on the device."""

    def seen(
        self, disclosure: Disclosure, vocabulary: int, *, at_first: bool = False
    ) -> Observation:
        """``vocabulary`` is the number of token ids."""
        left = (self.left_at_first if at_first else self.left)[disclosure]
        tokens = _bags([departure.tokens for departure in left], vocabulary)
        readings = {"tokens": tokens}
        if disclosure is not Disclosure.TOKENS:
            several = disclosure is not Disclosure.SUMMARY
            states = np.stack([_states_of(departure, several=several) for departure in left])
            readings = {"states": states, "tokens and states": np.hstack([tokens, states])}
        return Observation(str(disclosure), str(self.known), readings)


def disclose(
    reader: Reader,
    gate: RejectionPredictor,
    voices: Voices,
    embedding: Float32,
    known: Enrolment,
    disclosures: Sequence[Disclosure],
    progress: Progress,
) -> Disclosures:
    """Draft every clip and let it leave under each of ``disclosures``."""
    profiles = drawn_profiles(voices, embedding, known)
    drafts: list[tuple[int, ...]] = []
    summaries = []
    left, at_first = (
        {disclosure: list[Disclosed]() for disclosure in disclosures} for _ in range(2)
    )
    for done, (heard, profile) in enumerate(zip(embedding, profiles, strict=True), 1):
        draft = draft_of(reader, reader.condition(heard, profile), gate)
        drafts.append(draft.tokens)
        summaries.append(draft.predictions[0].state)
        for writes_on, kept in ((False, left), (True, at_first)):
            sent = disclosures_of(
                draft, reader.info, gate.threshold, disclosures, writes_on=writes_on
            )
            for disclosure, departure in sent.items():
                kept[disclosure].append(departure)
        progress(f"drafting, habit {known}", done, len(profiles), "")
    return Disclosures(known, drafts, left, at_first, np.stack(summaries))


def _bags(tokens: Sequence[Sequence[int]], vocabulary: int) -> Float32:
    """(n, V) how often each token is among those of a clip."""
    bags = np.zeros((len(tokens), vocabulary), dtype=np.float32)
    for row, some in enumerate(tokens):
        np.add.at(bags[row], list(some), 1)
    return bags


def _states_of(departure: Disclosed, *, several: bool) -> Float32:
    """(B,) the first of the states that left; with ``several`` (2 B,) their mean, too."""
    first: Float32 = departure.states[0]
    return np.concatenate([first, departure.states.mean(axis=0)]) if several else first
