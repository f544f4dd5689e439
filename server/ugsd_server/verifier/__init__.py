"""The verifier: a causal scorer of captions. Its input is tokens and states, never audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import AskedSlot

__all__ = ["Cache", "CausalScorer", "VerifierInfo"]


@dataclass(frozen=True)
class VerifierInfo:
    """Description of a verifier's model."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projections: tuple[bytes, ...]
    """SHA-256 of each state projection that the model was trained with."""
    bos: int
    eos: int
    vocabulary_size: int
    state_dim: int
    """Coordinates of a state."""
    max_tokens: int
    """Longest caption, in tokens, including its end token."""
    content_tokens: frozenset[int]
    """Tokens that describe the voice; the verifier corrects them only after a state."""
    values: Mapping[AskedSlot, Sequence[Sequence[int]]] = field(default_factory=dict)
    """For each slot that may be asked about, the tokens that state each of its values, in the order
    of the values in the drafter's ``slots.json``: a block's draft weights have it too."""

    @property
    def input_dim(self) -> int:
        """Columns of the model's states: ``state_dim`` for each projection, in order. Those of
        other projections than a state's own are 0."""
        return len(self.projections) * self.state_dim


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

        ``states`` (T, ``info.input_dim``) are used where ``has_state`` (T,) is 1. Returns logits
        (T, V); row t predicts the token after input t. Raises
        :class:`~ugsd_server.errors.ModelFailed`."""
