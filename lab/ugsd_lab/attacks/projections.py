"""Ways of making states: projections of the audio embedding to a few numbers.

Each is fitted on the training speakers of a drafter's corpora and on nothing else, so that its
licence is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.voices import named
from ugsd_lab.models.discriminant import discriminant

__all__ = ["KINDS", "SHIPPED_KIND", "Projector", "TrainingSet", "leace"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Projector = Callable[[Float32], Float32]
"""Maps (n, E) audio embeddings, speaker profile subtracted, to (n, B)."""

_REVERSED = 1.0
"""Weight of the speaker loss against the emotion loss in a network that is trained to hide the
speaker."""
_BATCH = 256
_MOST_DIRECTIONS = 32
"""Directions of a discriminant that are computed at once, as many as any candidate has."""


@dataclass(frozen=True)
class TrainingSet:
    """What projections learn from: clips of training speakers."""

    embeddings: Float32
    """(n, E)"""
    profile_removed: Float32
    """(n, E) the same minus the speaker profile."""
    speakers: NDArray[np.str_]
    emotions: NDArray[np.str_]
    parts: Float32
    """(n, P, E) embeddings of random parts of each clip: the same voice and emotion, other
    words."""
    _discriminants: dict[float, tuple[Float64, Float64]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def discriminant(self, dim: int, words: float) -> tuple[Float64, Float64]:
        """Mean (E,) and matrix (E, ``dim``) of the linear discriminant. The leading directions of
        all sizes are the same, and so they are computed once."""
        known = self._discriminants.get(words)
        if known is None or known[1].shape[1] < dim:
            most = min(max(dim, _MOST_DIRECTIONS), self.embeddings.shape[1])
            known = self._discriminants[words] = discriminant(
                self.embeddings, self.speakers.tolist(), self.emotions.tolist(), self.parts, most,
                words=words,
            )  # fmt: skip
        mean, matrix = known
        return mean, matrix[:, :dim]

    @property
    def scaled(self) -> tuple[Float64, Float64, Float64]:
        """Mean (E,), scale (E,) and the standardised embeddings (n, E)."""
        mean, scale = self.embeddings.mean(axis=0), self.embeddings.std(axis=0) + 1e-6
        return mean, scale, (self.embeddings - mean) / scale


def _less_mean(values: Float64, groups: NDArray[np.str_]) -> Float64:
    numbers, names = named(groups)
    means = np.stack([values[numbers == i].mean(axis=0) for i in range(len(names))])
    less: Float64 = values - means[numbers]
    return less


def _linear(mean: Float64, matrix: Float64) -> Projector:
    return lambda embedding: ((embedding - mean) @ matrix).astype(np.float32)


def _pca(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Return the leading components of the variation within a speaker, each scaled to one."""
    mean, scale, scaled = training_set.scaled
    within = _less_mean(scaled, training_set.speakers)
    return _linear(mean, _components(within, dim) / scale[:, None])


def _components(within: Float64, dim: int) -> Float64:
    _, spread, directions = np.linalg.svd(within, full_matrices=False)
    matrix: Float64 = directions[:dim].T / (spread[:dim] / np.sqrt(len(within)))
    return matrix


def _cells(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Return the linear discriminant of speaker x emotion, ignoring the words."""
    return _linear(*training_set.discriminant(dim, words=0.0))


def _cells_not_words(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Return the shipped kind: the same, in directions in which the parts of a clip differ
    little."""
    return _linear(*training_set.discriminant(dim, words=1.0))


def leace(features: Float64, labels: NDArray[np.int64]) -> tuple[Float64, Float64]:
    """Return mean (d,) and matrix (d, d) of the smallest change x - (x - mean) @ matrix after which
    no linear classifier can predict ``labels`` (n,) from ``features`` (n, d).

    Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form", theorem 4.3.
    """
    mean = features.mean(axis=0)
    centred = features - mean
    classes = np.eye(int(labels.max()) + 1)[labels]
    values, vectors = np.linalg.eigh(centred.T @ centred / len(features))
    known = values > 1e-8 * values.max()
    root, axes = np.sqrt(values[known]), vectors[:, known]
    whitened = centred @ (axes / root)  # identity covariance
    covariance = whitened.T @ (classes - classes.mean(axis=0)) / len(features)
    directions, sizes, _ = np.linalg.svd(covariance, full_matrices=False)
    concept = directions[:, sizes > 1e-8 * max(float(sizes[0]), 1e-300)]
    matrix: Float64 = (axes / root) @ concept @ concept.T @ (axes * root).T
    return mean, matrix


def _erased(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Erase the speaker in closed form, then take the components within speakers."""
    numbers, _ = named(training_set.speakers)
    centre, erase = leace(training_set.profile_removed.astype(np.float64), numbers)
    mean, scale, _ = training_set.scaled

    def erased(embedding: Float32) -> Float64:
        return embedding - (embedding - centre) @ erase

    within = _less_mean((erased(training_set.embeddings) - mean) / scale, training_set.speakers)
    made = _linear(mean, _components(within, dim) / scale[:, None])
    return lambda embedding: made(erased(embedding).astype(np.float32))


def _trained(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Return a network trained to predict the emotion."""
    return _network(training_set, dim, effort, against=0.0)


def _adversarial(training_set: TrainingSet, dim: int, effort: TrainingBudget) -> Projector:
    """Return the same, trained at once to hide the speaker: gradient reversal (Ganin & Lempitsky
    2015)."""
    return _network(training_set, dim, effort, against=_REVERSED)


class _Reversed(torch.autograd.Function):
    """The identity, with its gradient reversed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


def _network(
    training_set: TrainingSet, dim: int, effort: TrainingBudget, *, against: float
) -> Projector:
    torch.manual_seed(effort.seed)
    known = training_set.profile_removed
    mean, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    inputs = torch.from_numpy(((known - mean) / scale).astype(np.float32))
    (emotions, emotion_names), (speakers, speaker_names) = map(
        named, (training_set.emotions, training_set.speakers)
    )
    body = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(inputs.shape[1], 256), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(256, dim),
    )  # fmt: skip
    emotion_head = nn.Linear(dim, len(emotion_names))
    speaker_head = nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, len(speaker_names)))
    modules = nn.ModuleList([body, emotion_head, speaker_head])
    optimizer = torch.optim.AdamW(modules.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=effort.steps + 1)
    wanted, who = torch.from_numpy(emotions), torch.from_numpy(speakers)
    for _ in range(effort.steps):
        rows = torch.randint(len(inputs), (_BATCH,))
        made = _unit(body(inputs[rows]))
        loss = functional.cross_entropy(8 * emotion_head(made), wanted[rows], label_smoothing=0.1)
        if against:
            reversed_: Tensor = _Reversed.apply(made, against)  # type: ignore[no-untyped-call]
            loss = loss + functional.cross_entropy(8 * speaker_head(reversed_), who[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    body.eval()

    @torch.inference_mode()
    def projected(embedding: Float32) -> Float32:
        scaled = torch.from_numpy(((embedding - mean) / scale).astype(np.float32))
        return body(scaled).numpy()  # type: ignore[no-any-return]

    return projected


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=-1)


SHIPPED_KIND = "discriminant, not words"
KINDS: Mapping[str, Callable[[TrainingSet, int, TrainingBudget], Projector]] = MappingProxyType(
    {
        "within-speaker PCA": _pca,
        "LEACE, PCA": _erased,
        "discriminant": _cells,
        SHIPPED_KIND: _cells_not_words,
        "trained": _trained,
        "adversarial": _adversarial,
    }
)
"""Name -> function of training set, number of coordinates and budget that returns a projection."""
