"""Confidence intervals by a bootstrap over speakers.

A measure is stored as sums over clips, one row per speaker. Both sides of a difference or a ratio
use the same draws of speakers, so that variation common to both cancels.
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
    "sums_by_speaker",
]

_DRAWS = 2000


@dataclass(frozen=True)
class Measure:
    """A measure of a set of clips that is a function of sums over them."""

    sums: NDArray[np.float64]
    """(S, K) one row per speaker, sorted by name."""
    of: Callable[[NDArray[np.float64]], float]
    """Computes the measure from a sum of rows (K,)."""

    @property
    def value(self) -> float:
        """The measure over all clips."""
        return self.of(self.sums.sum(axis=0))

    def redrawn(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (D,) the measure for each row of ``weights`` (D, S): how often each speaker
        counts."""
        samples, which = np.unique(weights, axis=0, return_inverse=True)
        values = np.array([self.of(sample @ self.sums) for sample in samples])
        return values[which.reshape(-1)]


def draws(speakers: int, *, count: int = _DRAWS, seed: int = 0) -> NDArray[np.int64]:
    """Return (count, S) how often each of S speakers is drawn in S draws with replacement."""
    drawn = np.random.default_rng(seed).integers(speakers, size=(count, speakers))
    return np.stack([np.bincount(row, minlength=speakers) for row in drawn])


def share_measure(speakers: Sequence[str], values: Sequence[float]) -> Measure:
    """Return the mean of ``values``, one per clip, as a measure; NaN marks an unknown value."""
    rows = [np.zeros(2) if np.isnan(value) else np.array([value, 1.0]) for value in values]
    return Measure(
        sums_by_speaker(speakers, rows),
        lambda sums: float(sums[0] / sums[1]) if sums[1] else float("nan"),
    )


def bleu_measure(
    speakers: Sequence[str], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> Measure:
    """Return corpus BLEU as a measure."""
    rows = []
    for name in sorted(set(speakers)):
        own = [i for i, speaker in enumerate(speakers) if speaker == name]
        rows.append(bleu_statistics([captions[i] for i in own], [references[i] for i in own]))
    return Measure(np.array(rows, dtype=float), lambda sums: bleu_of(sums.astype(np.int64)))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the values that are not NaN; NaN without any."""
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Gap:
    """The share of the gap between the drafter alone and the verifier that a system closes."""

    closed: float
    """(system - drafter alone) / (verifier - drafter alone); NaN unless the gap is significant."""
    low: float
    high: float
    gap: float
    """verifier - drafter alone"""
    gap_low: float
    gap_high: float

    @property
    def is_loss(self) -> bool:
        """Whether the verifier is significantly worse, so that there is no gap to close."""
        return self.gap_high < 0

    @property
    def includes_zero(self) -> bool:
        """Whether the gap's own interval contains 0, so that a ratio to it is meaningless."""
        return self.gap_low <= 0 <= self.gap_high


def gap_closed(
    system: Measure, alone: Measure, verifier: Measure, weights: NDArray[np.int64]
) -> Gap:
    """Return the gap that ``system`` closes, with the same draws of speakers in numerator and
    denominator."""
    base = alone.redrawn(weights)
    gaps = verifier.redrawn(weights) - base
    gap, (gap_low, gap_high) = verifier.value - alone.value, interval(gaps)
    closed = low = high = float("nan")
    if gap_low > 0:
        gained = system.redrawn(weights) - base
        closed = (system.value - alone.value) / gap
        low, high = interval(
            np.divide(gained, gaps, out=np.full_like(gaps, np.nan), where=gaps != 0)
        )
    return Gap(closed, low, high, gap, gap_low, gap_high)


def sums_by_speaker(
    speakers: Sequence[str], rows: Sequence[NDArray[np.float64]] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (S, K) the sum of the ``rows`` (K,) of each speaker, sorted by name."""
    names = sorted(set(speakers))
    sums = np.zeros((len(names), len(rows[0])))
    for speaker, row in zip(speakers, rows, strict=True):
        sums[names.index(speaker)] += row
    return sums
