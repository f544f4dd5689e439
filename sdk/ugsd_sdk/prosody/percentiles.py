"""Percentiles without NumPy's own functions, which import masked arrays, and spend most of their
time on cases that do not occur here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["median", "percentile"]


def median(values: NDArray[np.floating]) -> float:
    """Return the median of ``values`` (n,), n >= 1 and finite."""
    return percentile(values, 50)


def percentile(values: NDArray[np.floating], percent: float) -> float:
    """Return a percentile of ``values`` (n,), n >= 1 and finite, between the two nearest values in
    proportion."""
    ordered = np.sort(values).astype(np.float64)
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
