"""The verifier: a causal scorer of captions. Its input is tokens and states, never audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cache", "CausalScorer", "VerifierInfo"]


@dataclass(frozen=True)
class VerifierInfo:
    """Description of a verifier's model."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 of the state projection that the model was trained with."""
    bos: int
    eos: int
    vocabulary_size: int
    state_dim: int
    max_tokens: int
    """Longest caption, in tokens, including its end token."""
    content_tokens: frozenset[int]
    """Tokens that describe the voice; the verifier corrects them only after a state."""


class Cache(Protocol):
    """The model's keys and values for one caption's leading inputs."""

    @property
    def length(self) -> int:
        """Number of inputs in the cache, including the start token."""

    @property
    def nbytes(self) -> int:
        """Memory that the cache takes."""

    def crop(self, length: int) -> None:
        """Keep only the first ``length`` inputs."""


class CausalScorer(Protocol):
    """The model behind a verifier. Inputs are the start token, then the caption's tokens; the state
    of position i belongs to the input that predicts position i (the start token for i = 0).

    One thread at a time calls its methods.
    """

    @property
    def info(self) -> VerifierInfo:
        """The model's description, available after :meth:`load`."""

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
        """Run ``tokens`` (T,) after the cached inputs and add them to ``cache``.

        ``states`` (T, B) are used where ``has_state`` (T,) is 1. Returns logits (T, V); row t
        predicts the token after input t. Raises :class:`~ugsd_server.errors.ModelFailed`."""
