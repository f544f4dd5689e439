"""How sure a number is: everything is bootstrapped over speakers, whole speakers at a time.

A measure that follows from sums over clips is kept as those sums, one row per speaker. The same
draws of speakers serve both sides of a difference or a ratio, so that what is common cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.evaluation.metrics import bleu_of, bleu_statistics

__all__ = [
    "Gap",
    "Measure",
    "bleu_measure",
    "draws",
    "gap_closed",
    "interval",
    "share_measure",
]

_DRAWS = 2000


@dataclass(frozen=True)
class Measure:
    """A measure of clips taken together, which follows from sums over them."""

    sums: NDArray[np.float64]
    """(S, K) one row per speaker, in the order of their names."""
    of: Callable[[NDArray[np.float64]], float]
    """The measure of summed rows (K,)."""

    @property
    def value(self) -> float:
        """Over all clips."""
        return self.of(self.sums.sum(axis=0))

    def redrawn(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(D,) the measure under each row of ``weights`` (D, S): how often each speaker counts."""
        samples, which = np.unique(weights, axis=0, return_inverse=True)
        values = np.array([self.of(sample @ self.sums) for sample in samples])
        return values[which.reshape(-1)]


def draws(speakers: int, *, count: int = _DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """(count, S) how often each of S speakers was drawn in S draws with replacement."""
    drawn = np.random.default_rng(seed).integers(speakers, size=(count, speakers))
    return np.stack([np.bincount(row, minlength=speakers) for row in drawn])


def share_measure(speakers: Sequence[str], values: Sequence[float]) -> Measure:
    """The mean of ``values``, one per clip; NaN stands for one that is not known."""
    rows = [np.zeros(2) if np.isnan(value) else np.array([value, 1.0]) for value in values]
    return Measure(
        _by_speaker(speakers, rows),
        lambda sums: float(sums[0] / sums[1]) if sums[1] else float("nan"),
    )


def bleu_measure(
    speakers: Sequence[str], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> Measure:
    """Corpus BLEU, clip by clip."""
    rows = []
    for name in sorted(set(speakers)):
        own = [i for i, speaker in enumerate(speakers) if speaker == name]
        rows.append(bleu_statistics([captions[i] for i in own], [references[i] for i in own]))
    return Measure(np.array(rows, dtype=float), lambda sums: bleu_of(sums.astype(np.int64)))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval, what is not a number left out; NaN where nothing is one."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Gap:
    """How much of the way from the drafter alone to the verifier on every token an arm goes."""

    closed: float
    """(arm - drafter alone) / (verifier - drafter alone); NaN unless the gap is surely one."""
    low: float
    high: float
    gap: float
    """verifier - drafter alone"""
    gap_low: float
    gap_high: float

    @property
    def is_loss(self) -> bool:
        """Whether the verifier is surely the worse one, so that there is nothing to close."""
        return self.gap_high < 0

    @property
    def includes_zero(self) -> bool:
        """Whether the gap's own interval holds 0, so that no ratio to it means anything."""
        return self.gap_low <= 0 <= self.gap_high


def gap_closed(arm: Measure, alone: Measure, verifier: Measure, weights: NDArray[np.int64]) -> Gap:
    """The gap that ``arm`` closes, numerator and denominator over the same draws of speakers."""
    base = alone.redrawn(weights)
    gaps = verifier.redrawn(weights) - base
    gap, (gap_low, gap_high) = verifier.value - alone.value, interval(gaps)
    closed = low = high = float("nan")
    if gap_low > 0:
        gained = arm.redrawn(weights) - base
        closed = (arm.value - alone.value) / gap
        low, high = interval(
            np.divide(gained, gaps, out=np.full_like(gaps, np.nan), where=gaps != 0)
        )
    return Gap(closed, low, high, gap, gap_low, gap_high)


def _by_speaker(
    speakers: Sequence[str], rows: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    names = sorted(set(speakers))
    sums = np.zeros((len(names), len(rows[0])))
    for speaker, row in zip(speakers, rows, strict=True):
        sums[names.index(speaker)] += row
    return sums
