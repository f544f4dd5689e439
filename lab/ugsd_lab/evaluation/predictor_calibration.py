"""How true the probabilities of the rejection predictor are on one corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ugsd_lab.evaluation.intervals import Measure, draws, interval, sums_by_speaker
from ugsd_lab.evaluation.metrics import auroc
from ugsd_lab.evaluation.pairs import Domain
from ugsd_lab.training.calibration_error import binned_gaps, error_by_chance, error_of_sums

__all__ = ["PredictorCalibration"]

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
        # The bins stay those of all questions when speakers are drawn.
        sums = sums_by_speaker(speakers, binned_gaps(predicted, observed))
        error = Measure(sums, error_of_sums)
        low, high = interval(error.redrawn(draws(len(sums))))
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
