"""How often something happened in trials, and how far apart voices were in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

__all__ = [
    "TOTAL",
    "Case",
    "Count",
    "Distances",
    "TimeToEnrol",
    "Trials",
    "counts_of",
    "distances_of",
    "joined",
    "time_to_enrol",
]

TOTAL = "in total"
"""Instead of a corpus: the trials of all."""
_HIGH = (0.5, 0.9, 0.95, 0.98, 0.99)
_LOW = (0.01, 0.02, 0.05, 0.1, 0.5)


@dataclass(frozen=True)
class Case:
    """A question that is answered with yes or no in each of some trials."""

    question: str
    name: str
    """What the trials are."""
    is_right: bool
    """Whether yes is the right answer."""


@dataclass(frozen=True)
class Count:
    """How often a case's question was answered with yes in the trials of a corpus."""

    corpus: str
    question: str
    case: str
    is_right: bool
    trials: int
    count: int
    share: float | None
    """``count`` divided by ``trials``; ``None`` without trials."""


@dataclass(frozen=True)
class TimeToEnrol:
    """After how many clips the profiles of a corpus' speakers are enrolled."""

    corpus: str
    trials: int
    enrolled: int
    """Trials in which the profile is enrolled at the end."""
    mean_clips: float | None
    """Of these trials; ``None`` without any."""


@dataclass(frozen=True)
class Distances:
    """Quantiles of the distances in the trials of a corpus."""

    corpus: str
    question: str
    case: str
    trials: int
    quantiles: Mapping[str, float]
    """By probability: high ones where a threshold should be larger than the distance, because yes
    would be wrong, and low ones where it should be smaller."""


@dataclass
class Trials:
    """Answers and distances in trials, by case and in the order of the cases."""

    answers: dict[Case, list[bool]] = field(default_factory=dict)
    distances: dict[Case, list[float]] = field(default_factory=dict)
    clips_to_enrol: list[int | None] = field(default_factory=list)
    """For each trial with one speaker; ``None`` if the profile was not enrolled at its end."""

    def answer(self, case: Case, *answers: bool) -> None:
        """Add answers to a case; without any, it still gets a row."""
        self.answers.setdefault(case, []).extend(answers)

    def measure(self, case: Case, *distances: float) -> None:
        """Add distances to a case; without any, it still gets a row."""
        self.distances.setdefault(case, []).extend(distances)


def joined(trials: Sequence[Trials]) -> Trials:
    """Return all trials together."""
    together = Trials()
    for one in trials:
        for case, answers in one.answers.items():
            together.answer(case, *answers)
        for case, distances in one.distances.items():
            together.measure(case, *distances)
        together.clips_to_enrol += one.clips_to_enrol
    return together


def counts_of(corpus: str, trials: Trials) -> list[Count]:
    """Return how often each case's question was answered with yes."""
    return [
        Count(
            corpus=corpus,
            question=case.question,
            case=case.name,
            is_right=case.is_right,
            trials=len(answers),
            count=sum(answers),
            share=fmean(answers) if answers else None,
        )
        for case, answers in trials.answers.items()
    ]


def time_to_enrol(corpus: str, trials: Trials) -> TimeToEnrol:
    """Return the mean number of clips in the trials that enrolled their speaker."""
    counts = [count for count in trials.clips_to_enrol if count is not None]
    return TimeToEnrol(
        corpus, len(trials.clips_to_enrol), len(counts), fmean(counts) if counts else None
    )


def distances_of(corpus: str, trials: Trials) -> list[Distances]:
    """Return the quantiles of each case's distances, of those that have some."""
    return [
        Distances(
            corpus,
            case.question,
            case.name,
            len(values),
            {
                f"{share:g}": float(np.quantile(values, share))
                for share in (_LOW if case.is_right else _HIGH)
            },
        )
        for case, values in trials.distances.items()
        if values
    ]
