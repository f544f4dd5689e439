"""Which drafted tokens a verifier lets pass, given its own scores.

Every rule accepts the verifier's own first choice, so a correction always differs from the token
that it replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Acceptance",
    "Continuation",
    "Greedy",
    "Probability",
    "Rank",
    "Typical",
    "probabilities",
]

Float64 = NDArray[np.float64]
_TINY = np.finfo(np.float64).tiny


class Acceptance(Protocol):
    """A rule over the verifier's distribution at one position."""

    def accepts(self, p: Float64, token: int) -> bool:
        """Whether ``token`` passes, ``p`` (V,) being the probabilities at its position."""


@dataclass(frozen=True)
class Typical:
    """Typical acceptance: ``p(x) >= min(epsilon, delta * exp(-H(p)))``, H in nats.

    Lossy, and meant to be: where the verifier itself sees many good words, a synonym passes.
    Source: Medusa (arXiv 2401.10774, section 2.3.1), after Hewitt et al. (arXiv 2210.15191).
    """

    epsilon: float = 0.3
    """Hard threshold, in (0, 1]: what is this likely always passes."""
    delta: float = 0.5
    """Share of ``exp(-H)`` that suffices, in (0, 1]."""

    def accepts(self, p: Float64, token: int) -> bool:
        entropy = -float(np.sum(p * np.log(np.maximum(p, _TINY))))
        # max(p) >= exp(-H) for every p; the comparison with the maximum only guards its rounding.
        threshold = min(self.epsilon, self.delta * float(np.exp(-entropy)), float(p.max()))
        return bool(p[token] >= threshold)


@dataclass(frozen=True)
class Greedy:
    """Only the verifier's own first choice passes (the lowest id, where several tie)."""

    def accepts(self, p: Float64, token: int) -> bool:
        return int(p.argmax()) == token


@dataclass(frozen=True)
class Rank:
    """A token passes when fewer than ``rank`` others are likelier.

    The baseline of the authors' public experiments on UGSD (arXiv 2603.11397), rank 20.
    """

    rank: int = 20

    def accepts(self, p: Float64, token: int) -> bool:
        return int(np.count_nonzero(p > p[token])) < self.rank


@dataclass(frozen=True)
class Probability:
    """A token passes when it is at least this likely; so does the first choice, always.

    The baseline of an earlier version of the authors' public experiments, probability 0.25.
    """

    least: float = 0.25
    """In [0, 1]."""

    def accepts(self, p: Float64, token: int) -> bool:
        return bool(p[token] >= min(self.least, float(p.max())))


@dataclass(frozen=True)
class Continuation:
    """How far the verifier goes on, greedily, after a correction or a block that passed."""

    max_tokens: int = 64
    """At most so many tokens; 0 for none."""
    continue_above: float = 0.0
    """It goes on while its first choice is at least this likely; 0 goes on to the end."""
    after_acceptance: bool = True
    """Whether it goes on after a block that passed whole, too, where it has heard a state."""


def probabilities(logits: NDArray[np.float32], masked: NDArray[np.bool_] | None) -> Float64:
    """Softmax of ``logits`` (V,), tokens under ``masked`` (V,) left out."""
    scores = logits.astype(np.float64)
    if masked is not None:
        scores[masked] = -np.inf
    weights = np.exp(scores - scores.max())
    normalised: Float64 = weights / weights.sum()
    return normalised
