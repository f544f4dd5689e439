"""Gates: which captions ask their question, if only a share of them may.

A gate is a score; the captions with the highest scores ask first. Captions with equal scores ask
equally often, so that a result is the expectation over all ways to break the tie, without a seed.
Where a caption has one question there is no gate by position: it would be at random, or one of the
two ends that all gates share, never and always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.evaluation.frontier_outcomes import Outcomes, Recorded

__all__ = ["DEVICE_GATE", "GATES", "Gate", "asked_shares", "min_gain_of"]

Float64 = NDArray[np.float64]
_STEPS = 1000
"""Settings have three decimals, as a person would write them."""


@dataclass(frozen=True)
class Gate:
    """Chooses the captions that ask."""

    name: str
    score: Callable[[Recorded, Outcomes], Float64]
    """Maps the captions, and what becomes of them if they ask, to (n,) scores."""


DEVICE_GATE = Gate("expected gain", lambda recorded, _: recorded.gain)
"""The score that ``min_gain`` in the settings is compared with."""

GATES = (
    Gate("random", lambda recorded, _: np.zeros(len(recorded.speakers))),
    Gate("entropy", lambda recorded, _: recorded.entropy),
    Gate("calibrated", lambda recorded, _: recorded.uncertainty),
    DEVICE_GATE,
    Gate("verdict oracle", lambda _, asked: asked.changed),
    Gate("oracle", lambda recorded, asked: asked.emotion - recorded.alone.emotion),
)
"""The oracles know beforehand which verdicts change a caption, and which of them for the better."""


def asked_shares(scores: Float64, rate: float, weights: Float64) -> Float64:
    """Return (n,) how often each caption asks, 0 to 1, if a share ``rate`` of all captions asks.
    ``weights`` (n,) add up to 1."""
    shares, remaining = np.zeros(len(scores)), rate
    for score in np.unique(scores)[::-1]:
        tied = scores == score
        mass = float(weights[tied].sum())
        shares[tied] = min(1.0, max(0.0, remaining) / mass)
        remaining -= mass
    return shares


def min_gain_of(scores: Float64, rate: float, weights: Float64) -> float:
    """Return the largest ``min_gain`` at which at least a share ``rate`` of all captions asks; -1
    if all of them do. ``rate`` is above 0, and a caption asks if its score exceeds the setting."""
    if rate >= 1:
        return -1.0
    asking = scores[asked_shares(scores, rate, weights) > 0]
    return (ceil(_STEPS * float(asking.min())) - 1) / _STEPS
