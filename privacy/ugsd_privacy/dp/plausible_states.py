"""What a noised state may have been before the noise: for those who interpret it.

A state has a norm of one. With Gaussian noise of standard deviation sigma on each coordinate, and
no other knowledge of the state, the states u that a received x may have been have a density in
proportion to exp(x . u / sigma**2) on the unit sphere: a von Mises-Fisher distribution (Mardia and
Jupp 2000, section 9.3.2). Whoever interprets x as if it had no noise is far too sure.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_sigma", "plausible_states"]

_POINTS = 2048
"""Directions, spread at random but fixed, among which states are looked for."""
_DRAWN = 24
"""Points that stand for the distribution."""


def largest_sigma(exponent: int) -> float:
    """Return the largest noise, in clip norms, for which a device chooses ``exponent``; 0 without
    noise. See :func:`ugsd_privacy.dp.mechanism.exponent_of`."""
    return ((1 << exponent) - 1) / 4


def plausible_states(
    received: NDArray[np.floating], exponent: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return at most 24 states (k, B) that ``received`` (B,) may have been, and the probability
    (k,) of each.

    The noise is taken to be the largest with this ``exponent``. Without noise the only such state
    is the received one. The result depends on the arguments alone.
    """
    sigma = largest_sigma(exponent)
    if not sigma:
        return received[None].astype(np.float32), np.ones(1)
    points = _points(len(received))
    scores = points @ received.astype(np.float64) / sigma**2
    order = np.argsort(scores)
    ends = np.cumsum(np.exp(scores[order] - scores.max()))
    # Evenly spaced quantiles of the distance from what was received: systematic resampling.
    drawn = np.searchsorted(ends, (np.arange(_DRAWN) + 0.5) / _DRAWN * ends[-1])
    places, counts = np.unique(drawn, return_counts=True)
    return points[order[places]].astype(np.float32), counts / _DRAWN


@lru_cache(maxsize=4)
def _points(dim: int) -> NDArray[np.float64]:
    """Return (n, ``dim``) fixed points, uniform on the unit sphere: with each its opposite."""
    half = np.random.default_rng(0).standard_normal((_POINTS // 2, dim))
    points = np.concatenate([half, -half])
    unit: NDArray[np.float64] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit
