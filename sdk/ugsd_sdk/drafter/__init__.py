"""The drafter: the model on the device, with audio encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Description of a drafter."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 of the state projection."""
    eos: int
    state_dim: int
    max_tokens: int
    sample_rate: int
    audio_encoder: bytes = b""
    """SHA-256 of the audio encoder. Speaker profiles of another encoder are not comparable."""
    gendered_phrases: tuple[GenderedPhrase, ...] = ()
    """How the device words gender, which tokens never contain; empty to stay neutral."""


@dataclass(frozen=True)
class AudioEmbedding:
    """The audio encoder's result for one clip. It is never sent."""

    vector: Float32
    """(E,) the input of the decoder."""
    ood_score: float
    """Distance of the clip from the training data: about 1 in-domain, larger out-of-domain."""
    unnormalised: Float32 | None = None
    """(E,) the input of the speaker profile. ``None`` for a drafter that uses no profile; its
    states need no enrolment (``Settings.min_enrolment``)."""
    gender: Gender | None = None
    """The gender that the voice sounds like, if it is clear. It is never sent."""


@dataclass(frozen=True)
class Prediction:
    """The drafter's prediction for the next position."""

    logits: Float32
    """(V,)"""
    state: Float32
    """(B,) the vector from which the next token is drafted, norm <= 1."""


class DraftSession(Protocol):
    """One caption that is being drafted: a token sequence and its KV cache."""

    @property
    def tokens(self) -> Sequence[int]:
        """The sequence so far, without the start token."""

    def predict(self) -> Prediction:
        """Return the prediction for position ``len(tokens)``. It costs nothing: the last ``append``
        computed it, also after ``crop``. Not called with ``info.max_tokens`` tokens."""

    def append(self, tokens: Sequence[int]) -> None:
        """Append tokens in one step; at most ``info.max_tokens`` in all, with the end marker."""

    def crop(self, length: int) -> None:
        """Keep the first ``length`` tokens; ``predict`` then predicts position ``length``."""


class Drafter(Protocol):
    """A model that drafts captions of clips."""

    @property
    def info(self) -> DrafterInfo:
        """The drafter's description, available after :meth:`load`."""

    def load(self) -> None:
        """Read the weights; the constructor does not."""

    def close(self) -> None: ...

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        """Return the embedding of ``speech``: one or more consecutive pieces, each mono (n,) at
        ``info.sample_rate`` in [-1, 1] and of at most 30 s, of a speaker with ``profile``."""

    def start(self, embedding: AudioEmbedding) -> DraftSession: ...

    def text(self, tokens: Sequence[int]) -> str:
        """Return the caption's neutral text, without special tokens."""

    def piece(self, token: int) -> str:
        """Return one token as text, including a leading space; empty for special tokens."""
