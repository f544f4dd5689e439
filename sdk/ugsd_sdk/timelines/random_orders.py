"""Random orders of utterances that depend on the one before as much as the real ones do.

A mood lasts: an utterance is similar to the one before it. Each measure is taken for autoregressive
of order 1, and its innovations are reordered, which is a sieve bootstrap (Bühlmann 1997,
https://doi.org/10.2307/3318584). The correlation is estimated from the differences of utterances
that are one and two places apart, since a lasting change hardly affects these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RandomOrders", "serial_correlation"]

Float64 = NDArray[np.float64]

_MAX_CORRELATION = 0.9
_NEGLIGIBLE = 1e-6


class RandomOrders:
    """Orders of ``scores`` (n, measures) with mean 0 and variance 1 each."""

    def __init__(self, scores: Float64, rng: np.random.Generator) -> None:
        self._rng = rng
        self._correlation = serial_correlation(scores)
        self._innovations = scores.copy()
        self._innovations[1:] -= self._correlation * scores[:-1]
        self._innovations[0] *= np.sqrt(1 - self._correlation**2)

    def draw(self, num_orders: int) -> Float64:
        """Return ``num_orders`` orders (num_orders, n, measures), with mean 0 and variance 1."""
        count = len(self._innovations)
        orders = self._rng.permuted(np.tile(np.arange(count), (num_orders, 1)), axis=1)
        drawn = self._innovations[orders]
        if not self._correlation.any():
            return np.asarray(drawn)
        drawn[:, 0] /= np.sqrt(1 - self._correlation**2)
        distance, weight = 1, self._correlation
        while distance < count and weight.max() > _NEGLIGIBLE:
            drawn[:, distance:] += weight * drawn[:, :-distance]
            distance, weight = 2 * distance, weight**2
        drawn -= drawn.mean(axis=1, keepdims=True)
        spread = drawn.std(axis=1, keepdims=True)
        return np.asarray(drawn / np.where(spread > 0, spread, 1))


def serial_correlation(scores: Float64) -> Float64:
    """Return the correlation (measures,) of consecutive rows of ``scores`` (n, measures), from 0 to
    .9: for each measure its own or that of all together, whichever is larger."""
    near = np.square(scores[1:] - scores[:-1]).mean(axis=0)
    far = np.square(scores[2:] - scores[:-2]).mean(axis=0)
    own = far / np.where(near > 0, near, np.inf) - 1
    together = far.sum() / near.sum() - 1 if near.any() else 0.0
    return np.asarray(np.clip(np.maximum(own, together), 0.0, _MAX_CORRELATION))
