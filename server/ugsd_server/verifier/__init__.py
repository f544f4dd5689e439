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
    """Longest caption, in tokens, its end token included."""
    content_tokens: frozenset[int]
    """Tokens that state a fact about the voice; never overruled where no state was disclosed."""


class Cache(Protocol):
    """The model's keys and values for one caption's leading inputs."""

    @property
    def length(self) -> int:
        """Inputs held (the start token counts)."""

    @property
    def nbytes(self) -> int:
        """Memory held."""

    def crop(self, length: int) -> None:
        """Forget all but the first ``length`` inputs."""


class CausalScorer(Protocol):
    """The model behind a verifier. Inputs are the start token, then the caption's tokens; the state
    of position i enters with the input that predicts position i (the start token for i = 0).

    Its methods are called by one thread at a time.
    """

    @property
    def info(self) -> VerifierInfo:
        """Known after :meth:`load`."""

    def load(self) -> None:
        """Read the weights. Raises :class:`~ugsd_server.errors.ModelError`."""

    def close(self) -> None: ...

    def new_cache(self) -> Cache: ...

    def extend(
        self,
        cache: Cache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Run ``tokens`` (T,) after what the cache holds, which grows by T.

        ``states`` (T, B) count where ``has_state`` (T,) is 1. Returns logits (T, V), row t
        predicting the token after input t. Raises :class:`~ugsd_server.errors.ModelFailed`."""
