"""Rules by which a verifier accepts what was drafted, given its own scores.

Every :class:`Acceptance` accepts the verifier's most likely token, so a correction always differs
from the token that it replaces. :class:`Speculative` also needs the distribution from which the
draft was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Acceptance",
    "ContinuationRule",
    "Greedy",
    "Rank",
    "Speculative",
    "Typical",
    "probabilities",
]

Float64 = NDArray[np.float64]
_TINY = np.finfo(np.float64).tiny


class Acceptance(Protocol):
    """A rule over the verifier's distribution at one position."""

    def accepts(self, p: Float64, token: int) -> bool:
        """Return whether ``token`` is accepted, given the probabilities ``p`` (V,) there."""


@dataclass(frozen=True)
class Typical:
    """Typical acceptance: ``p(x) >= min(epsilon, delta * exp(-H(p)))``, H in nats.

    It is lossy on purpose: if the verifier finds many words likely, it accepts a synonym. Source:
    Medusa (arXiv 2401.10774, section 2.3.1), after Hewitt et al. (arXiv 2210.15191).
    """

    epsilon: float = 0.3
    """Probability that is always enough, in (0, 1]."""
    delta: float = 0.5
    """Share of ``exp(-H)`` that is enough, in (0, 1]."""

    def accepts(self, p: Float64, token: int) -> bool:
        entropy = -float(np.sum(p * np.log(np.maximum(p, _TINY))))
        # max(p) >= exp(-H) for every p; the comparison with the maximum only guards its rounding.
        threshold = min(self.epsilon, self.delta * float(np.exp(-entropy)), float(p.max()))
        return bool(p[token] >= threshold)


@dataclass(frozen=True)
class Greedy:
    """Accepts only the verifier's most likely token (the lowest id of a tie)."""

    def accepts(self, p: Float64, token: int) -> bool:
        return int(p.argmax()) == token


@dataclass(frozen=True)
class Rank:
    """Accepts a token if fewer than ``rank`` others are likelier.

    With rank 20 it is the baseline of the authors' public experiments on UGSD (arXiv 2603.11397).
    """

    rank: int = 20

    def accepts(self, p: Float64, token: int) -> bool:
        return int(np.count_nonzero(p > p[token])) < self.rank


@dataclass(frozen=True)
class Speculative:
    """Speculative sampling of one of N values: the value that it names has exactly the verifier's
    distribution ``p``, if the drafted value was drawn from ``q`` and the decision to ask did not
    depend on which value was drawn.

    It accepts a drafted value x with probability ``min(1, p(x) / q(x))``, and otherwise draws from
    the normalised residual ``max(0, p - q)``. Source: Leviathan et al. (arXiv 2211.17192, theorem
    in appendix A.1) and Chen et al. (arXiv 2302.01318, theorem 1).
    """

    random: Callable[[], float] = SystemRandom().random
    """Returns a number that is uniform in [0, 1): by default the operating system's randomness."""

    def value(self, p: Float64, q: Float64, drafted: int) -> int:
        """Draw the value that a block with the ``drafted`` value names; see :meth:`outcomes`."""
        ends = np.cumsum(self.outcomes(p, q, drafted))
        return int(np.searchsorted(ends, self.random() * ends[-1], side="right"))

    def outcomes(self, p: Float64, q: Float64, drafted: int) -> Float64:
        """Return the probability (N,) of each value to be named, given the ``drafted`` one.

        ``p`` and ``q`` (N,) are distributions, and ``q[drafted]`` is positive.
        """
        residual = np.maximum(p - q, 0.0)
        rejected = 1.0 - min(1.0, float(p[drafted] / q[drafted]))
        if not residual.any():  # p and q are equal but for rounding
            rejected = 0.0
        outcomes = residual * (rejected / max(float(residual.sum()), _TINY))
        outcomes[drafted] += 1.0 - rejected
        return outcomes


@dataclass(frozen=True)
class ContinuationRule:
    """How far the verifier continues, greedily, after a correction or an accepted block."""

    max_tokens: int = 64
    """The most tokens that it writes; 0 disables continuations."""
    continue_above: float = 0.0
    """It continues while its most likely token has at least this probability; 0 never stops it."""
    after_acceptance: bool = True
    """Whether it also continues after a block that it accepted whole, if it has a state."""


def probabilities(logits: NDArray[np.float32], masked: NDArray[np.bool_] | None) -> Float64:
    """Return the softmax of ``logits`` (V,), with probability 0 where ``masked`` (V,) is set."""
    scores = logits.astype(np.float64)
    if masked is not None:
        scores[masked] = -np.inf
    weights = np.exp(scores - scores.max())
    normalised: Float64 = weights / weights.sum()
    return normalised
