"""How well scores separate same from different speakers: EER, and true positives at 1 % false ones.

Trials are stored as counts by pair of speakers and by rank of their score. So speakers can be
resampled for an interval without scoring again, and the trials of several folds can be pooled:
ranks mean the same in each, whatever the scale of an attacker's scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.evaluation.intervals import draws, interval

__all__ = [
    "FALSE_POSITIVES",
    "FEW_TRIALS",
    "Trials",
    "bounds",
    "equal_error",
    "measured",
    "ranks_of",
    "true_positives",
]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_BINS = 2000
_MOST_SORTED = 100_000
_DRAWS = 1000
FALSE_POSITIVES = 0.01
FEW_TRIALS = 100
"""Number of different-speaker trials below which 1 % of them is not one trial."""


@dataclass(frozen=True)
class Trials:
    """Counts of the trials between S speakers in one fold."""

    counts: Float64
    """(S, S, K), the last axis from the least similar to the most."""

    @classmethod
    def of(
        cls, scores: Float64, left: NDArray[np.int64], right: NDArray[np.int64], speakers: int
    ) -> Trials:
        """Count ``scores`` (T,) of trials between the speakers numbered ``left`` and ``right``
        (T,)."""
        return cls.of_ranks(ranks_of(scores), left, right, speakers)

    @classmethod
    def of_ranks(
        cls, ranks: Int64, left: NDArray[np.int64], right: NDArray[np.int64], speakers: int
    ) -> Trials:
        """Count trials whose scores have these ranks."""
        place = (left * speakers + right) * _BINS + ranks
        counts = np.bincount(place, minlength=speakers * speakers * _BINS).astype(np.float64)
        return cls(counts.reshape(speakers, speakers, _BINS))

    def weighed(self, weights: Float64) -> tuple[Float64, Float64]:
        """Return counts of same-speaker and of different-speaker trials, (D, K) each, with each of
        S speakers weighted by a row of ``weights`` (D, S)."""
        speakers = self.counts.shape[0]
        alike = weights @ np.einsum("iik->ik", self.counts)
        pairs = np.einsum("di,dj->dij", weights, weights)
        pairs[:, range(speakers), range(speakers)] = 0
        unlike = pairs.reshape(len(weights), -1) @ self.counts.reshape(speakers**2, -1)
        return alike, unlike


def ranks_of(scores: Float64) -> Int64:
    """Return the (T,) ranks of scores, from 0 to the number of bins - 1. The borders of the bins
    are quantiles of some of the scores if there are many."""
    some = scores[:: max(1, len(scores) // _MOST_SORTED)]
    edges = np.quantile(some, np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right")


def equal_error(alike: Float64, unlike: Float64) -> Float64:
    """Return the (D,) equal error rate of counts (D, K) by rising score; NaN if one kind is
    missing.

    Between the two thresholds at which the rates cross, both are interpolated linearly.
    """
    missed, passed = _rates(alike, unlike)
    gap = missed - passed  # rises from -1 to 1
    after = (gap >= 0).argmax(axis=1)
    before = np.maximum(after - 1, 0)
    row = np.arange(len(gap))
    width = gap[row, after] - gap[row, before]
    share = np.divide(-gap[row, before], width, out=np.zeros_like(width), where=width > 0)
    error: Float64 = missed[row, before] + share * (missed[row, after] - missed[row, before])
    return np.where(np.isnan(gap).any(axis=1), np.nan, error)


def true_positives(alike: Float64, unlike: Float64) -> Float64:
    """Return the (D,) largest share of same-speaker trials that pass while at most 1 % of the
    others do; NaN if there are too few others."""
    missed, passed = _rates(alike, unlike)
    allowed = passed <= FALSE_POSITIVES
    least: Float64 = 1 - np.where(allowed, missed, 1.0).min(axis=1)
    return np.where(unlike.sum(axis=1) < FEW_TRIALS, np.nan, least)


Kind = Literal["EER", "TPR"]


def measured(folds: Sequence[Trials], kind: Kind) -> float:
    """Return ``EER`` or ``TPR`` of all folds together."""
    return float(_of(folds, kind, np.ones((1, _speakers(folds))))[0])


def bounds(folds: Sequence[Trials], kind: Kind) -> tuple[float, float]:
    """Return the 95 % interval of :func:`measured`, over speakers."""
    drawn = draws(_speakers(folds), count=_DRAWS)
    samples, which = np.unique(drawn, axis=0, return_inverse=True)
    return interval(_of(folds, kind, samples.astype(np.float64))[which.reshape(-1)])


def _speakers(folds: Sequence[Trials]) -> int:
    return sum(fold.counts.shape[0] for fold in folds)


def _of(folds: Sequence[Trials], kind: Kind, weights: Float64) -> Float64:
    ends = np.cumsum([fold.counts.shape[0] for fold in folds])
    parts = np.split(weights, ends[:-1], axis=1)
    both = [fold.weighed(part) for fold, part in zip(folds, parts, strict=True)]
    alike = np.sum([some for some, _ in both], axis=0)
    unlike = np.sum([some for _, some in both], axis=0)
    return {"EER": equal_error, "TPR": true_positives}[kind](alike, unlike)


def _rates(alike: Float64, unlike: Float64) -> tuple[Float64, Float64]:
    """Return (D, K + 1) shares of same-speaker trials missed and of others passed, by rising
    threshold."""
    start = np.zeros((len(alike), 1))
    below = [np.hstack([start, np.cumsum(counts, axis=1)]) for counts in (alike, unlike)]
    with np.errstate(invalid="ignore"):
        missed, held = (sums / sums[:, -1:] for sums in below)
    return missed, 1 - held
