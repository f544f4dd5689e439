"""The drafter: ears and decoder on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["DraftSession", "Drafter", "DrafterInfo", "Evidence", "Prediction"]

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


@dataclass(frozen=True)
class Evidence:
    """What the ears heard, once per clip. It never leaves the device."""

    vector: Float32
    """(E,) what the decoder reads."""
    novelty: float
    """Distance of the clip from what the drafter was trained on; about 1 at home, larger away."""


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

    def encode(self, samples: Float32) -> Evidence:
        """Listen: ``samples`` is mono (n,) at ``info.sample_rate``, in [-1, 1]."""

    def start(self, evidence: Evidence) -> DraftSession: ...

    def text(self, tokens: Sequence[int]) -> str:
        """The caption's text, special tokens left out."""

    def piece(self, token: int) -> str:
        """One token as text, with its leading space where it has one; empty for special tokens."""
