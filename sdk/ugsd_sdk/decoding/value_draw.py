"""The draw of a slot's value from the drafter's distribution, for speculative verification.

Speculative acceptance is exact only for the distribution that was really drawn from. So the
drafter's distribution is rounded to weights that can be sent first, and the value is drawn from
exactly these draft weights, whether or not the block is then sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.errors import ModelError

__all__ = ["DrawnValue", "ValueDraw", "rounded_draft_weights"]

_LARGEST_WEIGHT = 255


@dataclass(frozen=True)
class DrawnValue:
    """A value that was drawn."""

    token: int
    """The likeliest token that states it."""
    draft_weights: bytes
    """(N,) uint8, the distribution over all values from which it was drawn, up to a factor."""


@dataclass(frozen=True)
class ValueDraw:
    """Draws one of N values."""

    values: Sequence[Sequence[int]]
    """(N,) the tokens that state each value, and no other; none if no token does."""
    random_below: Callable[[int], int] = secrets.randbelow
    """Returns a whole number that is uniform from 0 to its argument less 1: by default from the
    operating system's randomness."""

    def __call__(self, logits: NDArray[np.floating]) -> DrawnValue:
        """Draw a value at a position with ``logits`` (V,).

        Raises :class:`ModelError` if they give the values no distribution.
        """
        draft_weights = rounded_draft_weights(self._probabilities(logits))
        ends = np.cumsum(draft_weights, dtype=np.int64)
        value = int(np.searchsorted(ends, self.random_below(int(ends[-1])), side="right"))
        token = max(self.values[value], key=lambda token: float(logits[token]))
        return DrawnValue(token, draft_weights.tobytes())

    def _probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the probability (N,) of each value, if one of them is stated."""
        scores = np.asarray(logits, dtype=np.float64)
        tokens = [token for stating in self.values for token in stating]
        highest = max((float(scores[token]) for token in tokens), default=-np.inf)
        if not np.isfinite(highest) or np.isnan(scores).any():
            raise ModelError("the drafter's logits are not a distribution: reinstall its weights")
        sums = [float(np.exp(scores[list(stating)] - highest).sum()) for stating in self.values]
        return np.array(sums, dtype=np.float64) / sum(sums)


def rounded_draft_weights(probabilities: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Round ``probabilities`` (N,) to draft weights of 8 bits, of which the largest is 255.

    Each differs from a multiple of its probability by at most 1/510 of the largest.
    """
    weights: NDArray[np.uint8] = np.rint(
        probabilities / probabilities.max() * _LARGEST_WEIGHT
    ).astype(np.uint8)
    return weights
