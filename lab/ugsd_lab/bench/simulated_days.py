"""Simulated days of questions: when they come, and which real clip each is about.

A day has 400 questions on average, and how busy days are differs by a quarter. Clips are drawn
independently, or all clips of a burst are of one speaker, so that what questions are worth comes in
bursts, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR

__all__ = ["ARRIVALS", "Arrival", "Day", "simulated_day"]

SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR
QUESTIONS_PER_DAY = 400
_DAY_SPREAD = 0.25
"""Standard deviation of the logarithm of how busy a day is."""
_CONCENTRATION = 60.0
"""Of the Dirichlet distribution of a day's hours: how alike the hours of days are."""
_BURST_GAP_S = 20.0
_BURST_TAIL, _BURST_QUESTIONS, _MAX_BURST = 1.5, 3.0, 200
"""Bursts have Pareto sizes with an infinite variance, cut at the largest."""
_MEAN_BURST = 12

_HOURS = np.arange(24)


def _peak(hour: float, width: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((_HOURS - hour) / width) ** 2), np.float64)


@dataclass(frozen=True)
class Arrival:
    """When questions come. ``rates`` has the relative rate of each hour; without them questions
    come in bursts at any time."""

    name: str
    rates: NDArray[np.float64] | None
    by_speaker: bool = False
    """Whether all clips of a burst are of one speaker."""


ARRIVALS = (
    Arrival("uniform", np.ones(24)),
    Arrival("morning", 0.15 + 3 * _peak(8, 1.2)),
    Arrival("evening", 0.15 + 3 * _peak(20, 1.5)),
    Arrival("two peaks", 0.1 + 2 * _peak(8, 1.2) + 2 * _peak(19, 1.8)),
    Arrival("bursts", None),
    Arrival("bursts of one speaker", None, by_speaker=True),
)


@dataclass(frozen=True)
class Day:
    """The questions of one day, in order."""

    times_s: NDArray[np.float64]
    """Seconds since midnight (n,), ascending."""
    clips: NDArray[np.int64]
    """Index of the clip of each (n,)."""


def simulated_day(
    arrival: Arrival, speakers: Mapping[str, Sequence[int]], generator: np.random.Generator
) -> Day:
    """Return a day of at least one question. ``speakers`` has the clips of each speaker."""
    busy = QUESTIONS_PER_DAY * np.exp(generator.normal(0, _DAY_SPREAD))
    names, everyone = list(speakers), [clip for own in speakers.values() for clip in own]
    times: list[float] = []
    clips: list[int] = []
    while not times:
        for found in _groups(arrival, busy, generator):
            own = (
                speakers[names[generator.integers(len(names))]] if arrival.by_speaker else everyone
            )
            times.extend(found)
            clips.extend(generator.choice(own, len(found)))
    order = np.argsort(times)
    return Day(np.array(times)[order], np.array(clips)[order])


def _groups(
    arrival: Arrival, busy: float, generator: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Return the times of the questions of each hour or burst, some of which may be empty."""
    if arrival.rates is None:
        return [_burst(generator) for _ in range(generator.poisson(busy / _MEAN_BURST))]
    usual = arrival.rates / arrival.rates.sum()
    counts = generator.poisson(busy * generator.dirichlet(_CONCENTRATION * usual))
    return [
        SECONDS_PER_HOUR * (hour + generator.random(count)) for hour, count in enumerate(counts)
    ]


def _burst(generator: np.random.Generator) -> NDArray[np.float64]:
    size = min(int(_BURST_QUESTIONS * (1 + generator.pareto(_BURST_TAIL))), _MAX_BURST)
    start_s = SECONDS_PER_DAY * generator.random()
    times = start_s + np.cumsum(generator.exponential(_BURST_GAP_S, size))
    return np.asarray(times[times < SECONDS_PER_DAY], np.float64)
