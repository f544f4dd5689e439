"""Ways of making the *heard* part of a state: evidence to a few numbers.

All but the trained ones are fitted on what the shipped projection is fitted on, so that they may be
embedded anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

__all__ = ["KINDS", "SHIPPED_KIND", "Made", "TrainingSet", "leace"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Made = Callable[[Float32], Float32]
"""(n, E) evidence, the habit taken out, to (n, B)."""

_REVERSED = 1.0
"""How much the speaker counts against the feeling where a network is trained to hide it."""
_BATCH = 256


@dataclass(frozen=True)
class TrainingSet:
    """What projections learn from: clips of training speakers."""

    evidence: Float32
    """(n, E)"""
    speakers: NDArray[np.str_]
    emotions: NDArray[np.str_]
    parts: Float32
    """(n, P, E) of random parts of each clip: the same voice and feeling, other words."""
    home: Float32
    """(m, E) of all training speakers at home, for what needs more than a few speakers."""
    home_speakers: NDArray[np.str_]
    home_emotions: NDArray[np.str_]

    @property
    def scaled(self) -> tuple[Float64, Float64, Float64]:
        """Mean (E,), scale (E,) and the evidence (n, E) without either."""
        mean, scale = self.evidence.mean(axis=0), self.evidence.std(axis=0) + 1e-6
        return mean, scale, (self.evidence - mean) / scale


def _less_mean(values: Float64, groups: NDArray[np.str_]) -> Float64:
    numbers, names = named(groups)
    means = np.stack([values[numbers == i].mean(axis=0) for i in range(len(names))])
    less: Float64 = values - means[numbers]
    return less


def _linear(mean: Float64, matrix: Float64) -> Made:
    return lambda embedding: ((embedding - mean) @ matrix).astype(np.float32)


def _pca(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """The leading components of how clips differ within a speaker, each scaled to one."""
    mean, scale, scaled = lessons.scaled
    within = _less_mean(scaled, lessons.speakers)
    return _linear(mean, _components(within, dim) / scale[:, None])


def _components(within: Float64, dim: int) -> Float64:
    _, spread, directions = np.linalg.svd(within, full_matrices=False)
    matrix: Float64 = directions[:dim].T / (spread[:dim] / np.sqrt(len(within)))
    return matrix


def _cells(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """Linear discriminant of speaker x emotion, whatever was said."""
    return _discriminant(lessons, dim, words=0.0)


def _cells_not_words(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """The same, of directions in which the parts of a clip differ little: as shipped."""
    return _discriminant(lessons, dim, words=1.0)


def _discriminant(lessons: TrainingSet, dim: int, *, words: float) -> Made:
    speakers, emotions = lessons.speakers.tolist(), lessons.emotions.tolist()
    return _linear(
        *discriminant(lessons.evidence, speakers, emotions, lessons.parts, dim, words=words)
    )


def leace(features: Float64, labels: NDArray[np.int64]) -> tuple[Float64, Float64]:
    """Mean (d,) and matrix (d, d) of the least change after which no linear classifier can tell the
    ``labels`` (n,) of ``features`` (n, d): x - (x - mean) @ matrix.

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


def _erased(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """The speaker erased in closed form, then the components within speakers."""
    numbers, _ = named(lessons.home_speakers)
    centre, erase = leace(lessons.home.astype(np.float64), numbers)
    mean, scale, _ = lessons.scaled

    def erased(embedding: Float32) -> Float64:
        return embedding - (embedding - centre) @ erase

    within = _less_mean((erased(lessons.evidence) - mean) / scale, lessons.speakers)
    made = _linear(mean, _components(within, dim) / scale[:, None])
    return lambda embedding: made(erased(embedding).astype(np.float32))


def _trained(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """A network trained to tell the feeling, on all that is at home."""
    return _network(lessons, dim, effort, against=0.0)


def _adversarial(lessons: TrainingSet, dim: int, effort: TrainingBudget) -> Made:
    """The same, trained at once to hide the speaker: gradient reversal (Ganin & Lempitsky 2015)."""
    return _network(lessons, dim, effort, against=_REVERSED)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


def _network(lessons: TrainingSet, dim: int, effort: TrainingBudget, *, against: float) -> Made:
    torch.manual_seed(effort.seed)
    mean, scale = lessons.home.mean(axis=0), lessons.home.std(axis=0) + 1e-6
    inputs = torch.from_numpy(((lessons.home - mean) / scale).astype(np.float32))
    (emotions, feelings), (speakers, people) = map(
        named, (lessons.home_emotions, lessons.home_speakers)
    )
    body = nn.Sequential(
        nn.Dropout(0.5), nn.Linear(inputs.shape[1], 256), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(256, dim),
    )  # fmt: skip
    tells = nn.Linear(dim, len(feelings))
    finds = nn.Sequential(nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, len(people)))
    modules = nn.ModuleList([body, tells, finds])
    optimizer = torch.optim.AdamW(modules.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=effort.steps + 1)
    wanted, who = torch.from_numpy(emotions), torch.from_numpy(speakers)
    for _ in range(effort.steps):
        rows = torch.randint(len(inputs), (_BATCH,))
        made = _unit(body(inputs[rows]))
        loss = functional.cross_entropy(8 * tells(made), wanted[rows], label_smoothing=0.1)
        if against:
            turned: Tensor = _Reversed.apply(made, against)  # type: ignore[no-untyped-call]
            loss = loss + functional.cross_entropy(8 * finds(turned), who[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    body.eval()

    @torch.inference_mode()
    def made_of(embedding: Float32) -> Float32:
        scaled = torch.from_numpy(((embedding - mean) / scale).astype(np.float32))
        return body(scaled).numpy()  # type: ignore[no-any-return]

    return made_of


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=-1)


SHIPPED_KIND = "discriminant, not words"
KINDS: Mapping[str, Callable[[TrainingSet, int, TrainingBudget], Made]] = MappingProxyType(
    {
        "within-speaker PCA": _pca,
        "LEACE, PCA": _erased,
        "discriminant": _cells,
        SHIPPED_KIND: _cells_not_words,
        "trained": _trained,
        "adversarial": _adversarial,
    }
)
"""By name: from lessons and the number of coordinates to a projection."""
