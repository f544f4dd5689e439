"""States as candidates for the wire would make them, and what their noise is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.projections import KINDS, SHIPPED_KIND, Made, TrainingSet
from ugsd_lab.attacks.voices import Voices

__all__ = ["BELIEFS_ONLY", "Candidate", "Material", "candidates", "epsilon"]

Float32 = NDArray[np.float32]

DELTA = 1e-6
_HEARD_NORM = 0.8
_TOKENS_PER_CAPTION = 12
"""States of one caption where each token has its own."""
_WIDEST = 3.0
"""Range of a coarse quantiser, in typical sizes of a coordinate."""

BELIEFS_ONLY = "beliefs only"


@dataclass(frozen=True)
class Candidate:
    """One way of making states."""

    kind: str
    """One of :data:`KINDS`; ``beliefs only`` has no heard part."""
    dim: int
    """Coordinates of the heard part."""
    habit: bool = True
    """Whether the speaker's habit is taken out of the evidence."""
    beliefs: bool = True
    """Whether what the drafter believes goes with it."""
    sigma: float = 0.0
    """Of Gaussian noise on each coordinate, in units of the clip norm."""
    bits: int = 8
    """Of a coordinate."""
    vectors: int = 1
    """States of one caption that leave; of several, each has noise of its own."""

    def __str__(self) -> str:
        told = [self.kind] if self.kind == BELIEFS_ONLY else [self.kind, str(self.dim)]
        if not self.habit:
            told.append("no habit")
        if not self.beliefs:
            told.append("no beliefs")
        if self.sigma:
            told.append(f"noise {self.sigma}")
        if self.bits != 8:
            told.append(f"{self.bits} bits")
        if self.vectors > 1:
            told.append("per token")
        return ", ".join(told)


_CLOSED_FORMS = ("within-speaker PCA", SHIPPED_KIND)
_DIMS = (4, 8, 16, 32, 112)
_SIGMAS = (0.05, 0.1, 0.25, 0.6)


def candidates(*, quick: bool = False) -> list[Candidate]:
    """All that are compared."""
    if quick:
        return [
            Candidate(BELIEFS_ONLY, 0),
            *(Candidate(kind, 16) for kind in ("within-speaker PCA", SHIPPED_KIND)),
        ]
    return [
        Candidate(BELIEFS_ONLY, 0),
        *(Candidate(kind, dim) for kind in _CLOSED_FORMS for dim in _DIMS),
        *(Candidate(kind, 16) for kind in KINDS if kind not in _CLOSED_FORMS),
        *(Candidate(kind, 16, habit=False) for kind in KINDS),
        Candidate(SHIPPED_KIND, 16, beliefs=False),
        *(
            Candidate(SHIPPED_KIND, 16, sigma=sigma, vectors=vectors)
            for sigma in _SIGMAS
            for vectors in (1, _TOKENS_PER_CAPTION)
        ),
        *(Candidate(SHIPPED_KIND, 16, bits=bits) for bits in (4, 2)),
    ]


@dataclass(frozen=True)
class Material:
    """What states are made of, of every clip."""

    voices: Voices
    evidence: Float32
    """(n, E)"""
    own: Float32
    """(n, E) the evidence less the speaker's habit."""
    at_once: Float32
    """(n, E) the same where all captions of a speaker are made with one habit."""
    beliefs: Float32
    """(n, K) what the drafter believes at the first position."""
    lessons: TrainingSet
    _made: dict[tuple[str, int], Made] = field(default_factory=dict, compare=False)

    def states(
        self, one: Candidate, *, at_once: bool = False, effort: TrainingBudget = FULL
    ) -> Float32:
        """(n, B) as they leave; the mean of several where several leave."""
        parts = [self.beliefs] if one.beliefs else []
        if one.kind != BELIEFS_ONLY:
            if (one.kind, one.dim) not in self._made:
                self._made[one.kind, one.dim] = KINDS[one.kind](self.lessons, one.dim, effort)
            from_ = (self.at_once if at_once else self.own) if one.habit else self.evidence
            heard = self._made[one.kind, one.dim](from_)
            norms = np.linalg.norm(heard, axis=1, keepdims=True)
            parts.insert(0, _HEARD_NORM * heard / np.maximum(norms, 1e-6))
        states = np.hstack(parts)
        rng = np.random.default_rng(effort.seed)
        count = one.vectors if one.sigma else 1
        sums = np.zeros(states.shape)
        for _ in range(count):
            noised = states + one.sigma * rng.standard_normal(states.shape)
            sums += _quantised(noised, one.bits)
        return (sums / count).astype(np.float32)


def _quantised(states: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Rounded to 2^bits - 1 levels from -1 to 1; of few bits, from -r to r, where coordinates are
    seldom larger."""
    levels = 2 ** (bits - 1) - 1
    widest = 1.0 if bits >= 8 else min(1.0, _WIDEST / sqrt(states.shape[1]))
    units = np.clip(np.rint(states / widest * levels), -levels, levels)
    rounded: NDArray[np.float64] = units * (widest / levels)
    return rounded


def epsilon(sigma: float, vectors: int = 1, delta: float = DELTA) -> float:
    """Of ``vectors`` Gaussian releases of states of norm 1, sensitivity 2 each; infinite without
    noise.

    The exact privacy profile (Balle & Wang 2018, theorem 8; Dong et al. 2022): with
    mu = 2 sqrt(vectors) / sigma, delta = Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2).
    """
    if sigma == 0:
        return inf
    mu = 2 * sqrt(vectors) / sigma
    low, high = 0.0, mu * mu + 20 * mu + 20
    for _ in range(200):
        middle = (low + high) / 2
        if _delta_of(middle, mu) > delta:
            low = middle
        else:
            high = middle
    return high


def _delta_of(eps: float, mu: float) -> float:
    second = _phi(-eps / mu - mu / 2)
    # In logarithms, for e^eps alone would overflow.
    return _phi(-eps / mu + mu / 2) - (exp(eps + log(second)) if second > 0 else 0.0)


def _phi(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2
