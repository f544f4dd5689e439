"""The projection behind states: directions that separate emotions rather than words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["discriminant"]

Float64 = NDArray[np.float64]

_OTHER_SHARE = 0.1
"""Weight of a speaker's other differences between clips, beside the labelled emotions."""
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
    """Return mean (E,) and matrix (E, ``dim``) of a linear discriminant of (N, E) audio embeddings.

    It maximises the variance between a speaker's emotions, relative to the variance of a speaker's
    clips plus ``words`` times the variance of the (N, P, E) parts of one clip, which share the
    voice and the emotion but not the words. Each direction is scaled to unit variance within
    speakers.
    """
    values = embedding.astype(np.float64)
    mean, scale = values.mean(0), values.std(0) + 1e-6
    clips = _less_mean((values - mean) / scale, speakers)
    within = clips.T @ clips / len(clips)
    emotional = clips - _less_mean(clips, list(zip(speakers, emotions, strict=True)))
    verbal = ((parts - parts.mean(1, keepdims=True)) / scale).reshape(-1, len(mean))
    wanted = emotional.T @ emotional / len(clips) + _OTHER_SHARE * within
    unwanted = within + words * verbal.T @ verbal / len(verbal)
    unwanted += _RIDGE * np.trace(unwanted) / len(unwanted) * np.eye(len(unwanted))
    size = len(mean)
    _, directions = eigh(wanted, unwanted, subset_by_index=[size - dim, size - 1])
    directions /= np.sqrt(np.einsum("ik,ij,jk->k", directions, within, directions))
    return mean, directions[:, ::-1] / scale[:, None]


def _less_mean(values: Float64, groups: Sequence[Hashable]) -> Float64:
    """Subtract from each row of (n, E) the mean of its group."""
    out = values.copy()
    for group in set(groups):
        own = np.array([other == group for other in groups])
        out[own] -= values[own].mean(0)
    return out
