"""The drafter: ears and decoder on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.drafter.gender_phrases import Gender, GenderedPhrase
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

__all__ = ["AudioEmbedding", "DraftSession", "Drafter", "DrafterInfo", "Prediction"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class DrafterInfo:
    """What others must know of a drafter."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 that names the state projection."""
    eos: int
    state_dim: int
    max_tokens: int
    sample_rate: int
    audio_encoder: bytes = b""
    """SHA-256 that names what evidence is heard with; habits of other ears mean nothing."""
    gendered_phrases: tuple[GenderedPhrase, ...] = ()
    """How the device words gender, which no token spells; nothing for no wording."""


@dataclass(frozen=True)
class AudioEmbedding:
    """What the ears heard, once per clip. It never leaves the device."""

    vector: Float32
    """(E,) what the decoder reads."""
    ood_score: float
    """Distance of the clip from what the drafter was trained on; about 1 at home, larger away."""
    unnormalised: Float32 | None = None
    """(E,) what the habit is made from; ``None`` of a drafter that makes nothing of habits, whose
    states ``Settings.min_enrolment`` does not hold back."""
    gender: Gender | None = None
    """What the voice sounds like, where it is clear. Only the device words it; it never leaves."""


@dataclass(frozen=True)
class Prediction:
    """What the drafter says about the next position."""

    logits: Float32
    """(V,)"""
    state: Float32
    """(B,) the vector from which the next token is drafted, norm <= 1."""


class DraftSession(Protocol):
    """One caption in the making: a token sequence and the KV cache behind it."""

    @property
    def tokens(self) -> Sequence[int]:
        """The sequence so far, without the start token."""

    def predict(self) -> Prediction:
        """The prediction for position ``len(tokens)``. Free: computed by the last ``append``, and
        after ``crop`` still at hand. Not asked for once ``info.max_tokens`` are held."""

    def append(self, tokens: Sequence[int]) -> None:
        """Feed tokens in one step; at most ``info.max_tokens`` in all, the end marker included."""

    def crop(self, length: int) -> None:
        """Keep the first ``length`` tokens; ``predict`` is then about position ``length``."""


class Drafter(Protocol):
    """A model that drafts captions of clips."""

    @property
    def info(self) -> DrafterInfo:
        """Known after :meth:`load`."""

    def load(self) -> None:
        """Read the weights. Constructors do no work."""

    def close(self) -> None: ...

    def encode(self, samples: Float32, profile: SpeakerProfile = EMPTY_PROFILE) -> AudioEmbedding:
        """Listen: ``samples`` is mono (n,) at ``info.sample_rate``, in [-1, 1], of a voice with
        that ``habit``."""

    def start(self, embedding: AudioEmbedding) -> DraftSession: ...

    def text(self, tokens: Sequence[int]) -> str:
        """The caption's text, neutral as the tokens are; special tokens left out."""

    def piece(self, token: int) -> str:
        """One token as text, with its leading space where it has one; empty for special tokens."""
