"""Candidate ways of making states, and the epsilon of their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import erfc, exp, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import exponent_of

from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.projections import KINDS, SHIPPED_KIND, Projector, TrainingSet
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.models.networks import STATE_DIM

__all__ = ["SCORES_ONLY", "Candidate", "FittedOn", "Material", "candidates", "epsilon"]

Float32 = NDArray[np.float32]

DELTA = 1e-6
_STATE_NORM, _AUDIO_NORM, _SCORES_NORM = 1.0, 0.8, 0.6
"""Norm of a state, and of its two parts if it has scores."""
_LOGIT = 16.0
"""Size of a log-probability that is one unit of a score."""
_WIDEST = 3.0
"""Range of a coarse quantiser, in typical sizes of a coordinate."""

SCORES_ONLY = "scores only"
"""The kind of states without an audio part."""


@dataclass(frozen=True)
class Candidate:
    """One way of making states. The field names are keys of the JSON report."""

    kind: str
    """One of :data:`KINDS`, or :data:`SCORES_ONLY`, which has no audio part."""
    dim: int
    """Coordinates of the audio part."""
    corpora: tuple[str, ...] = ()
    """The corpora that the projection is fitted on."""
    subtracts_profile: bool = True
    """Whether the speaker profile is subtracted from the audio embedding."""
    scores: bool = False
    """Whether the state contains the drafter's scores of the emotions. Such states are shown for
    comparison: a drafter keeps what it concludes to itself."""
    sigma: float = 0.0
    """Standard deviation of the Gaussian noise on each coordinate, in units of the clip norm."""
    bits: int = 8
    """Bits per coordinate."""

    def __str__(self) -> str:
        parts = [self.kind] if self.kind == SCORES_ONLY else [self.kind, str(self.dim)]
        if self.corpora:
            parts.append(" and ".join(self.corpora))
        if not self.subtracts_profile:
            parts.append("no profile")
        if self.scores and self.kind != SCORES_ONLY:
            parts.append("with the emotion's scores")
        if self.sigma:
            parts.append(f"noise {self.sigma}")
        if self.bits != 8:
            parts.append(f"{self.bits} bits")
        return ", ".join(parts)


_CLOSED_FORMS = ("within-speaker PCA", SHIPPED_KIND)
_DIMS = (4, 6, 8, 12, 16, 32)
_SIGMAS = (0.05, 0.1, 0.25, 0.6, 1.0, 2.0)
_BITS = (4, 2)
_FORMER_DIM = 16
"""Coordinates of the audio part beside scores."""


def candidates(projections: Sequence[tuple[str, ...]], *, quick: bool = False) -> list[Candidate]:
    """Return all candidates that are compared, each fitted on one of ``projections``, which are
    tuples of corpora."""
    some = [Candidate(SCORES_ONLY, 0, scores=True)]
    for corpora in projections:
        shipped = Candidate(SHIPPED_KIND, STATE_DIM, corpora)
        former = replace(shipped, dim=_FORMER_DIM, scores=True)
        if quick:
            some += [replace(shipped, kind=kind) for kind in _CLOSED_FORMS]
            some.append(former)
            continue
        some += [Candidate(kind, dim, corpora) for kind in _CLOSED_FORMS for dim in _DIMS]
        some += [replace(shipped, kind=kind) for kind in KINDS if kind not in _CLOSED_FORMS]
        some += [replace(shipped, kind=kind, subtracts_profile=False) for kind in KINDS]
        some += [replace(shipped, sigma=sigma) for sigma in _SIGMAS]
        some += [replace(shipped, bits=bits) for bits in _BITS]
        some += [former, replace(former, subtracts_profile=False)]
    return some


@dataclass(frozen=True)
class FittedOn:
    """What projections that are fitted on some corpora learn from, and are applied to."""

    training_set: TrainingSet
    profile_removed: Float32
    """(n, E) audio embeddings of all clips minus the speaker profile."""
    one_profile: Float32
    """(n, E) the same if all captions of a speaker are made with one profile."""


@dataclass(frozen=True)
class Material:
    """The inputs from which candidate states are computed, one row per clip."""

    voices: Voices
    embeddings: Float32
    """(n, E)"""
    emotion: Float32
    """(n, K) the drafter's log-probabilities of the emotions."""
    fitted_on: Mapping[tuple[str, ...], FittedOn]
    """By the corpora of the projection."""
    in_domain: tuple[str, ...] = ()
    """The corpora that the drafter was trained on."""
    _made: dict[tuple[str, int, tuple[str, ...]], Projector] = field(
        default_factory=dict, compare=False
    )

    def known_corpora(self, one: Candidate) -> set[str]:
        """Return the corpora whose training speakers the states were made from."""
        return {*one.corpora, *(self.in_domain if one.scores else ())}

    @property
    def scores(self) -> Float32:
        """(n, K) the scores of the emotions as a state contains them."""
        scores = (self.emotion - self.emotion.mean(axis=1, keepdims=True)) / _LOGIT
        norms = np.linalg.norm(scores, axis=1, keepdims=True)
        scaled: Float32 = scores * np.minimum(1, _SCORES_NORM / np.maximum(norms, 1e-6))
        return scaled

    def states(
        self, one: Candidate, *, one_profile: bool = False, effort: TrainingBudget = FULL
    ) -> Float32:
        """Return the (n, B) states as disclosed."""
        parts = [self.scores] if one.scores else []
        if one.kind != SCORES_ONLY:
            audio = self._audio(one, one_profile, effort)
            norms = np.linalg.norm(audio, axis=1, keepdims=True)
            norm = _AUDIO_NORM if one.scores else _STATE_NORM
            parts.insert(0, norm * audio / np.maximum(norms, 1e-6))
        states = np.hstack(parts)
        noise = np.random.default_rng(effort.seed).standard_normal(states.shape)
        exponent = exponent_of(one.sigma or None)
        return _quantised(states + one.sigma * noise, one.bits, exponent).astype(np.float32)

    def _audio(self, one: Candidate, one_profile: bool, effort: TrainingBudget) -> Float32:
        fitted, key = self.fitted_on[one.corpora], (one.kind, one.dim, one.corpora)
        if key not in self._made:
            self._made[key] = KINDS[one.kind](fitted.training_set, one.dim, effort)
        removed = fitted.one_profile if one_profile else fitted.profile_removed
        return self._made[key](removed if one.subtracts_profile else self.embeddings)


def _quantised(states: NDArray[np.float64], bits: int, exponent: int) -> NDArray[np.float64]:
    """Round to 2^bits - 1 levels from -1 to 1 times 2^``exponent``. With few bits the range is -r
    to r, which coordinates seldom exceed."""
    levels = 2 ** (bits - 1) - 1
    widest = 2.0**exponent if bits >= 8 else min(1.0, _WIDEST / sqrt(states.shape[1]))
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
