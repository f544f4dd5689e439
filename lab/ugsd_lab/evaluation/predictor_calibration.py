"""How true the probabilities of the rejection predictor are on one corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.evaluation.intervals import Measure, draws, interval
from ugsd_lab.evaluation.metrics import auroc
from ugsd_lab.evaluation.pairs import Domain

__all__ = ["PredictorCalibration", "calibration_error", "error_by_chance"]

_BINS = 10
_TRIALS = 200
"""Simulations of verdicts by a predictor's own probabilities."""
_NAN = float("nan")


@dataclass(frozen=True)
class PredictorCalibration:
    """The predicted probability of rejection, compared with the verdicts. NaN where there is no
    question."""

    corpus: str
    domain: Domain
    questions: int
    """Captions that state an emotion."""
    predicted: float
    """Mean probability."""
    rejected: float
    """Share of drafts that the verifier rejects."""
    asked: float
    """Share of questions whose probability reaches the threshold."""
    error: float
    """Expected calibration error: the mean distance of predicted and observed share over ten bins
    of equal size."""
    low: float
    high: float
    """95 % interval of the error over speakers."""
    by_chance: float
    """The mean error of a predictor whose probabilities are true, with these probabilities and this
    number of questions. It is large if the questions are few."""
    auroc: float
    """Area under the ROC curve of the probability, rejected against accepted drafts."""

    @classmethod
    def of(
        cls,
        corpus: str,
        domain: Domain,
        *,
        speakers: Sequence[str],
        chance: Sequence[float],
        rejected: Sequence[bool],
        threshold: float,
    ) -> Self:
        """Compare the ``chance`` of each question with its verdict; each is by one of
        ``speakers``."""
        if not chance:
            return cls(corpus, domain, 0, *[_NAN] * 8)
        predicted, observed = np.array(chance), np.array(rejected, dtype=bool)
        error = calibration_error(speakers, predicted, observed)
        low, high = interval(error.redrawn(draws(len(set(speakers)))))
        return cls(
            corpus,
            domain,
            len(chance),
            predicted=float(predicted.mean()),
            rejected=float(observed.mean()),
            asked=float(np.mean(predicted >= threshold)),
            error=error.value,
            low=low,
            high=high,
            by_chance=error_by_chance(predicted),
            auroc=auroc(list(predicted[~observed]), list(predicted[observed])),
        )


def calibration_error(
    speakers: Sequence[str], chance: NDArray[np.float64], happened: NDArray[np.bool_]
) -> Measure:
    """Return the expected calibration error as a measure. Its bins stay those of all questions when
    speakers are drawn."""
    names = sorted(set(speakers))
    sums = np.zeros((len(names), _BINS + 1))
    for index, own in enumerate(np.array_split(np.argsort(chance, kind="stable"), _BINS)):
        for i in own:
            row = sums[names.index(speakers[i])]
            row[index] += chance[i] - happened[i]
            row[-1] += 1
    return Measure(sums, lambda total: float(np.abs(total[:-1]).sum() / total[-1]))


def error_by_chance(chance: NDArray[np.float64]) -> float:
    """Return the mean expected calibration error if each question of ``chance`` (n,) is rejected
    with exactly its probability."""
    rng = np.random.default_rng(0)
    bins = np.array_split(np.argsort(chance, kind="stable"), _BINS)
    gaps = chance - (rng.random((_TRIALS, len(chance))) < chance)
    errors = sum(np.abs(gaps[:, own].sum(axis=1)) for own in bins)
    return float(np.mean(errors) / len(chance))
