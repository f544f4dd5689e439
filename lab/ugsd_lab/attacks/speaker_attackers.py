"""Attackers who recognise speakers: each learns from some speakers and compares others.

LDA and within-class covariance normalisation with cosine scores (Dehak et al. 2011), the
two-covariance model of PLDA (Ioffe 2006; Brümmer & de Villiers 2010) and a network trained as a
classifier of speakers whose last hidden layer is compared (x-vectors, Snyder et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.attacks.learning import Network, TrainingBudget, fit_network

__all__ = ["ATTACKERS", "Comparison", "unit"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_SHRINKAGE = 0.1
"""Shrinkage of the within-speaker covariance towards a multiple of the identity."""
_LDA_DIM = 32
_PLDA_DIM = 64


class Comparison(Protocol):
    """A fitted attacker: it embeds features and compares the embeddings."""

    def embed(self, features: NDArray[np.float32]) -> Float64:
        """Map (n, d) features to (n, e) embeddings."""

    def score(self, left: Float64, right: Float64, of_left: int = 1, of_right: int = 1) -> Float64:
        """Return (n, m) similarities. Rows are means of ``of_left`` and ``of_right`` embeddings."""


def unit(rows: Float64) -> Float64:
    """Scale rows to a norm of one."""
    scaled: Float64 = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return scaled


class _Linear:
    """Embeds linearly and compares by cosine."""

    def __init__(self, mean: Float64, matrix: Float64) -> None:
        self._mean, self._matrix = mean, matrix

    def embed(self, features: NDArray[np.float32]) -> Float64:
        embedded: Float64 = (features - self._mean) @ self._matrix
        return embedded

    def score(self, left: Float64, right: Float64, of_left: int = 1, of_right: int = 1) -> Float64:
        return unit(left) @ unit(right).T


class _Plda(_Linear):
    """Compares by the log-likelihood ratio, in coordinates in which speakers vary by ``between``
    and a speaker's clips by 1."""

    def __init__(self, mean: Float64, matrix: Float64, between: Float64) -> None:
        super().__init__(mean, matrix)
        self._between = between

    def score(self, left: Float64, right: Float64, of_left: int = 1, of_right: int = 1) -> Float64:
        b = self._between
        own_left, own_right = b + 1 / of_left, b + 1 / of_right
        joint = own_left * own_right - b**2
        score: Float64 = (
            (left * (b / joint)) @ right.T
            + (0.5 * left**2 * (1 / own_left - own_right / joint)).sum(axis=1)[:, None]
            + (0.5 * right**2 * (1 / own_right - own_left / joint)).sum(axis=1)[None]
        )
        return score


class _Network(_Linear):
    """Embeds with a trained network's last hidden layer and compares by cosine."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def embed(self, features: NDArray[np.float32]) -> Float64:
        return self._network.hidden(features).astype(np.float64)


def _whitened(features: NDArray[np.float32], speakers: Int64) -> tuple[Float64, Float64, Float64]:
    """Return the mean (d,), a matrix (d, d) after which a speaker's clips vary by 1 in each
    direction, and the speakers' means (S, d) after it. Features are scaled before the covariance is
    shrunk."""
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0) + 1e-6
    scaled = (features - mean) / scale
    means = np.stack([scaled[speakers == s].mean(axis=0) for s in range(speakers.max() + 1)])
    apart = scaled - means[speakers]
    within = apart.T @ apart / len(scaled)
    level = max(float(np.trace(within)) / len(within), 1e-12)
    lower = np.linalg.cholesky(within + _SHRINKAGE * level * np.eye(len(within)))
    whitening = np.linalg.inv(lower).T
    return mean, whitening / scale[:, None], means @ whitening


def _directions(means: Float64, count: int) -> Float64:
    """Return at most ``count`` directions (d, count) of whitened space in which the speakers' means
    (S, d) differ most."""
    *_, directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    return directions[: min(count, len(means) - 1)].T


def _as_it_is(features: NDArray[np.float32], speakers: Int64, effort: TrainingBudget) -> Comparison:
    return _Linear(np.zeros(features.shape[1]), np.eye(features.shape[1]))


def _wccn(features: NDArray[np.float32], speakers: Int64, effort: TrainingBudget) -> Comparison:
    mean, whitening, _ = _whitened(features, speakers)
    return _Linear(mean, whitening)


def _lda(features: NDArray[np.float32], speakers: Int64, effort: TrainingBudget) -> Comparison:
    mean, whitening, means = _whitened(features, speakers)
    return _Linear(mean, whitening @ _directions(means, _LDA_DIM))


def _plda(features: NDArray[np.float32], speakers: Int64, effort: TrainingBudget) -> Comparison:
    mean, whitening, means = _whitened(features, speakers)
    directions = _directions(means, _PLDA_DIM)
    spread = (means @ directions).var(axis=0, ddof=1)
    own = np.array([1 / np.sum(speakers == s) for s in range(speakers.max() + 1)]).mean()
    return _Plda(mean, whitening @ directions, np.maximum(spread - own, 1e-3))


def _network(features: NDArray[np.float32], speakers: Int64, effort: TrainingBudget) -> Comparison:
    return _Network(fit_network(features, speakers, effort=effort))


ATTACKERS: Mapping[str, Callable[[NDArray[np.float32], Int64, TrainingBudget], Comparison]] = (
    MappingProxyType(
        {
            "cosine": _as_it_is, "WCCN": _wccn, "LDA": _lda, "PLDA": _plda, "network": _network,
        }
    )
)  # fmt: skip
"""Name -> function of (n, d) features, (n,) speaker numbers and a training budget. ``cosine``
learns nothing."""
