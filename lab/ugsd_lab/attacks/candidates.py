"""Candidate ways of making states, and the epsilon of their noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.projections import KINDS, SHIPPED_KIND, Projector, TrainingSet
from ugsd_lab.attacks.voices import Voices

__all__ = ["ATTRIBUTES_ONLY", "Candidate", "Material", "candidates", "epsilon"]

Float32 = NDArray[np.float32]

DELTA = 1e-6
_AUDIO_NORM = 0.8
_TOKENS_PER_CAPTION = 12
"""States in one caption if each token has one."""
_WIDEST = 3.0
"""Range of a coarse quantiser, in typical sizes of a coordinate."""

ATTRIBUTES_ONLY = "beliefs only"
"""The kind of states without an audio part. It is a value in JSON reports."""


@dataclass(frozen=True)
class Candidate:
    """One way of making states. The field names are keys of the JSON report."""

    kind: str
    """One of :data:`KINDS`, or :data:`ATTRIBUTES_ONLY`, which has no audio part."""
    dim: int
    """Coordinates of the audio part."""
    habit: bool = True
    """Whether the speaker profile is subtracted from the audio embedding."""
    beliefs: bool = True
    """Whether the state contains the predicted attributes."""
    sigma: float = 0.0
    """Standard deviation of the Gaussian noise on each coordinate, in units of the clip norm."""
    bits: int = 8
    """Bits per coordinate."""
    vectors: int = 1
    """States disclosed per caption; if there are several, each has its own noise."""

    @property
    def kind_label(self) -> str:
        """The kind as printed."""
        return "attributes only" if self.kind == ATTRIBUTES_ONLY else self.kind

    def __str__(self) -> str:
        parts = [self.kind_label] if self.kind == ATTRIBUTES_ONLY else [self.kind, str(self.dim)]
        if not self.habit:
            parts.append("no profile")
        if not self.beliefs:
            parts.append("no attributes")
        if self.sigma:
            parts.append(f"noise {self.sigma}")
        if self.bits != 8:
            parts.append(f"{self.bits} bits")
        if self.vectors > 1:
            parts.append("per token")
        return ", ".join(parts)


_CLOSED_FORMS = ("within-speaker PCA", SHIPPED_KIND)
_DIMS = (4, 8, 16, 32, 112)
_SIGMAS = (0.05, 0.1, 0.25, 0.6)


def candidates(*, quick: bool = False) -> list[Candidate]:
    """Return all candidates that are compared."""
    if quick:
        return [
            Candidate(ATTRIBUTES_ONLY, 0),
            *(Candidate(kind, 16) for kind in ("within-speaker PCA", SHIPPED_KIND)),
        ]
    return [
        Candidate(ATTRIBUTES_ONLY, 0),
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
    """The inputs from which candidate states are computed, one row per clip."""

    voices: Voices
    embeddings: Float32
    """(n, E)"""
    profile_removed: Float32
    """(n, E) audio embeddings minus the speaker profile."""
    one_profile: Float32
    """(n, E) the same if all captions of a speaker are made with one profile."""
    attributes: Float32
    """(n, K) the drafter's predicted attributes at the first position."""
    training_set: TrainingSet
    _made: dict[tuple[str, int], Projector] = field(default_factory=dict, compare=False)

    def states(
        self, one: Candidate, *, one_profile: bool = False, effort: TrainingBudget = FULL
    ) -> Float32:
        """Return the (n, B) states as disclosed; the mean if several are disclosed."""
        parts = [self.attributes] if one.beliefs else []
        if one.kind != ATTRIBUTES_ONLY:
            if (one.kind, one.dim) not in self._made:
                self._made[one.kind, one.dim] = KINDS[one.kind](self.training_set, one.dim, effort)
            removed = self.one_profile if one_profile else self.profile_removed
            source = removed if one.habit else self.embeddings
            audio = self._made[one.kind, one.dim](source)
            norms = np.linalg.norm(audio, axis=1, keepdims=True)
            parts.insert(0, _AUDIO_NORM * audio / np.maximum(norms, 1e-6))
        states = np.hstack(parts)
        rng = np.random.default_rng(effort.seed)
        count = one.vectors if one.sigma else 1
        sums = np.zeros(states.shape)
        for _ in range(count):
            noised = states + one.sigma * rng.standard_normal(states.shape)
            sums += _quantised(noised, one.bits)
        return (sums / count).astype(np.float32)


def _quantised(states: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Round to 2^bits - 1 levels from -1 to 1. With few bits the range is -r to r, which
    coordinates seldom exceed."""
    levels = 2 ** (bits - 1) - 1
    widest = 1.0 if bits >= 8 else min(1.0, _WIDEST / sqrt(states.shape[1]))
    units = np.clip(np.rint(states / widest * levels), -levels, levels)
    rounded: NDArray[np.float64] = units * (widest / levels)
    return rounded


def epsilon(sigma: float, vectors: int = 1, delta: float = DELTA) -> float:
    """Return the epsilon of ``vectors`` Gaussian releases of states of norm 1, each of sensitivity
    2; infinite without noise.

    The exact privacy profile (Balle & Wang 2018, theorem 8; Dong et al. 2022): with mu = 2
    sqrt(vectors) / sigma, delta = Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2).
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
    # In logarithms, because e^eps alone would overflow.
    return _phi(-eps / mu + mu / 2) - (exp(eps + log(second)) if second > 0 else 0.0)


def _phi(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2
