"""The projection that states are made by: directions of feeling rather than of words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["discriminant"]

Float64 = NDArray[np.float64]

_OTHERWISE = 0.1
"""What else a speaker's clips differ in counts, beside the feelings that are labelled."""
_RIDGE = 1.0
"""In units of the mean variance."""


def discriminant(
    embedding: NDArray[np.float32],
    speakers: Sequence[Hashable],
    emotions: Sequence[Hashable],
    parts: NDArray[np.float32],
    dim: int,
    *,
    words: float = 1.0,
) -> tuple[Float64, Float64]:
    """Mean (E,) and matrix (E, ``dim``) of a linear discriminant of (N, E) evidence.

    Of all directions those in which a speaker's feelings differ most, as measured by how much a
    speaker's clips differ, and by how much, times ``words``, the (N, P, E) parts of one clip do,
    which have the voice and the feeling in common and the words not. Each is scaled to a variance
    of one within speakers.
    """
    known = embedding.astype(np.float64)
    mean, scale = known.mean(0), known.std(0) + 1e-6
    clips = _less_mean((known - mean) / scale, speakers)
    within = clips.T @ clips / len(clips)
    felt = clips - _less_mean(clips, list(zip(speakers, emotions, strict=True)))
    said = ((parts - parts.mean(1, keepdims=True)) / scale).reshape(-1, len(mean))
    told = felt.T @ felt / len(clips) + _OTHERWISE * within
    untold = within + words * said.T @ said / len(said)
    untold += _RIDGE * np.trace(untold) / len(untold) * np.eye(len(untold))
    size = len(mean)
    _, directions = eigh(told, untold, subset_by_index=[size - dim, size - 1])
    directions /= np.sqrt(np.einsum("ik,ij,jk->k", directions, within, directions))
    return mean, directions[:, ::-1] / scale[:, None]


def _less_mean(values: Float64, groups: Sequence[Hashable]) -> Float64:
    """(n, E) less the mean of each one's group."""
    out = values.copy()
    for group in set(groups):
        own = np.array([other == group for other in groups])
        out[own] -= values[own].mean(0)
    return out
