"""The expected calibration error of probabilities (Naeini et al. 2015), over bins of equal size.

It is a function of sums over the questions, so that a bootstrap can sum them by speaker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["binned_gaps", "error_by_chance", "error_of_sums", "expected_calibration_error"]

_BINS = 10
_TRIALS = 200


def expected_calibration_error(chance: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """Return the mean distance of predicted and observed frequency over ten bins of equal size."""
    return error_of_sums(binned_gaps(chance, happened).sum(axis=0))


def binned_gaps(chance: NDArray[np.float64], happened: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n, 11): for each question ``chance`` - ``happened`` in the column of its bin, 0 in
    the other bins, and 1 at the end, which counts it."""
    rows = np.zeros((len(chance), _BINS + 1))
    for index, own in enumerate(np.array_split(np.argsort(chance, kind="stable"), _BINS)):
        rows[own, index] = chance[own] - happened[own]
    rows[:, -1] = 1
    return rows


def error_of_sums(sums: NDArray[np.float64]) -> float:
    """Return the expected calibration error from a sum (11,) of rows of :func:`binned_gaps`."""
    return float(np.abs(sums[:-1]).sum() / sums[-1])


def error_by_chance(chance: NDArray[np.float64]) -> float:
    """Return the mean error if each event happens with exactly its ``chance`` (n,), from 200
    simulations: few events have a large one."""
    rng = np.random.default_rng(0)
    errors = [
        expected_calibration_error(chance, rng.random(len(chance)) < chance) for _ in range(_TRIALS)
    ]
    return float(np.mean(errors))
