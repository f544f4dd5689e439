"""The verifier: a causal scorer of captions that reads tokens and states, never audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cache", "CausalScorer", "VerifierInfo"]


@dataclass(frozen=True)
class VerifierInfo:
    """What others must know of a verifier's model."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 that names the state projection the model was trained on."""
    bos: int
    eos: int
    vocabulary_size: int
    state_dim: int
    max_tokens: int
    content_tokens: frozenset[int]
    """Tokens that state a fact about the voice; never overruled where no state was disclosed."""


class Cache(Protocol):
    """The model's keys and values for one caption's leading inputs."""

    @property
    def length(self) -> int:
        """Inputs held (the start token counts)."""

    def crop(self, length: int) -> None:
        """Forget all but the first ``length`` inputs."""


class CausalScorer(Protocol):
    """The model behind a verifier. Inputs are the start token, then the caption's tokens; the state
    of position i enters with the input that predicts position i (the start token for i = 0)."""

    @property
    def info(self) -> VerifierInfo: ...

    def load(self) -> None: ...

    def close(self) -> None: ...

    def new_cache(self) -> Cache: ...

    def extend(
        self,
        cache: Cache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Run ``tokens`` (T,) with ``states`` (T, B), used where ``has_state`` (T,) is 1, after what
        the cache holds; the cache grows by T. Returns logits (T, V)."""
