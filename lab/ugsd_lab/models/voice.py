"""The voice vector: a few numbers by which the device tells two speakers apart.

A linear discriminant of audio embeddings: the directions in which speakers of one corpus differ
most, relative to the clips of one speaker. It stays on the device, where it keeps other people's
clips out of a speaker profile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor, nn

from ugsd_lab.data.corpora import Clip

__all__ = ["MAX_VOICE_DIM", "VoiceProjection"]

MAX_VOICE_DIM = 8
_RIDGE = 1.0
"""Ridge on the variance within speakers, in units of its mean diagonal."""
_SAME_SPEAKER_SHARE = 0.98
"""Share of the pairs of clips of one speaker whose voice vectors differ by a norm of at most 1."""
_PAIRS_PER_SPEAKER = 500
_SCALED_WITH = ("dev", "calibration")

Float64 = NDArray[np.float64]


class VoiceProjection(nn.Module):
    """Maps (N, E) audio embeddings to (N, V) voice vectors.

    The vectors of two clips of one speaker differ by a norm of at most 1 in 98 % of the pairs of
    the speakers that it was scaled with.
    """

    def __init__(self, mean: Float64, matrix: Float64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("projection", torch.tensor(matrix, dtype=torch.float32))

    def forward(self, embedding: Tensor) -> Tensor:
        return (embedding - self.get_buffer("mean")) @ self.get_buffer("projection")

    @classmethod
    def fit(
        cls, clips: Sequence[Clip], embeddings: NDArray[np.float32], own: Sequence[str]
    ) -> VoiceProjection:
        """Fit the directions to the (n, E) embeddings of the training speakers of the corpora
        ``own``, and scale them with the development and calibration speakers."""
        values = embeddings.astype(np.float64)
        train = np.array([clip.corpus in own and clip.split == "train" for clip in clips])
        speakers = np.array([f"{clip.corpus}/{clip.speaker}" for clip in clips])
        corpora = np.array([clip.corpus for clip in clips])
        mean, matrix = _discriminant(values[train], speakers[train], corpora[train])
        held_out = np.array([clip.corpus in own and clip.split in _SCALED_WITH for clip in clips])
        voices = (values[held_out] - mean) @ matrix
        usual = np.quantile(_distances(voices, speakers[held_out]), _SAME_SPEAKER_SHARE)
        return cls(mean, matrix / usual)


def _discriminant(
    values: Float64, speakers: NDArray[np.str_], corpora: NDArray[np.str_]
) -> tuple[Float64, Float64]:
    """Return mean (E,) and matrix (E, V): directions between the speakers of a corpus, relative to
    the variance of one speaker's clips."""
    mean, scale = values.mean(0), values.std(0) + 1e-6
    z = (values - mean) / scale
    size, names = z.shape[1], sorted(set(speakers))
    within, between = np.zeros((size, size)), np.zeros((size, size))
    centre = {corpus: z[corpora == corpus].mean(0) for corpus in set(corpora)}
    for name in names:
        own = speakers == name
        usual = z[own].mean(0)
        differences = z[own] - usual
        within += differences.T @ differences / own.sum() / len(names)
        between += np.outer(*[usual - centre[corpora[own][0]]] * 2) / len(names)
    within += _RIDGE * np.trace(within) / size * np.eye(size)
    dim = min(MAX_VOICE_DIM, len(names) - len(centre))  # the rank of the differences
    _, directions = eigh(between, within, subset_by_index=[size - dim, size - 1])
    directions /= np.sqrt(np.einsum("ik,ij,jk->k", directions, within, directions))
    return mean, directions[:, ::-1] / scale[:, None]


def _distances(voices: Float64, speakers: NDArray[np.str_]) -> Float64:
    """Return the distances of random pairs of clips of one speaker."""
    rng = np.random.default_rng(0)
    distances = []
    for name in sorted(set(speakers)):
        own = np.flatnonzero(speakers == name)
        for _ in range(_PAIRS_PER_SPEAKER):
            first, second = rng.choice(own, 2, replace=False)
            distances.append(np.linalg.norm(voices[first] - voices[second]))
    return np.array(distances)
