"""Trains the readers of the emotion, each on its own corpora."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.networks import EmotionReader, Reading
from ugsd_lab.training.corpus import Corpus, Projection
from ugsd_lab.training.fitting import fit
from ugsd_lab.training.profiles import ProfileSampler

__all__ = ["RowSampler", "drawn_profiles", "train_reader"]

BATCH = 48
_CLEAN_SHARE = 1 / 3
"""Share of a batch without augmentation, beside the rows drawn evenly from clip and copies."""
_LEVELS = ("low", "mid", "high")
_LEVELS_WEIGHT, _STRENGTH_WEIGHT, _GENDER_WEIGHT = 0.3, 0.2, 0.1
_SMOOTHING = 0.1


class RowSampler:
    """Draws clips and copies evenly over corpora; a draw depends on seed and step alone."""

    def __init__(self, corpus: Corpus, corpora: Sequence[str], seed: int) -> None:
        self._seed = seed
        self._copies = corpus.embeddings.shape[1]
        self._rows = corpus.rows(corpora, "train")
        names = [corpus.clips[i].corpus for i in self._rows]
        weights = np.array([1 / names.count(name) for name in names])
        self._weights = weights / weights.sum()

    def draw(self, step: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of clips, and the number of the copy of each."""
        choice = np.random.default_rng((self._seed, step))
        rows = choice.choice(self._rows, size, p=self._weights)
        copies = choice.integers(self._copies, size=size)
        copies[choice.random(size) < _CLEAN_SHARE] = 0
        return rows, copies


@dataclass(frozen=True)
class _Labels:
    """The targets, by clip and copy."""

    emotion: Tensor
    """(n,)"""
    strong: Tensor
    """(n,) 1.0, 0.0, or NaN if the corpus does not label the strength."""
    levels: Tensor
    """(n, 1 + copies, 6): prosody levels, each 0, 1 or 2."""
    female: Tensor
    """(n,) 1.0, 0.0, or NaN if the corpus does not give it."""

    @classmethod
    def of(cls, corpus: Corpus) -> _Labels:
        def levels(row: int, copy: int) -> list[int]:
            return [
                _LEVELS.index(level) for level in vars(corpus.labels(row, copy).levels).values()
            ]

        rows, copies = range(len(corpus.clips)), range(corpus.embeddings.shape[1])
        strong = {"strong": 1.0, "normal": 0.0, None: math.nan}
        female = {"female": 1.0, "male": 0.0, None: math.nan}
        return cls(
            torch.tensor([EMOTIONS.index(corpus.labels(row).emotion) for row in rows]),
            torch.tensor([strong[clip.intensity] for clip in corpus.clips]),
            torch.tensor([[levels(row, copy) for copy in copies] for row in rows]),
            torch.tensor([female[clip.gender] for clip in corpus.clips]),
        )


def train_reader(
    corpus: Corpus,
    corpora: Sequence[str],
    projection: Projection,
    *,
    name: str,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> EmotionReader:
    """Train a reader on the training speakers of ``corpora``."""
    torch.manual_seed(seed)
    model = EmotionReader(corpus.embeddings.shape[2])
    rows = corpus.rows(corpora, "train")
    train = corpus.clean_embeddings[rows]
    labels = _Labels.of(corpus)
    model.get_buffer("mean").copy_(torch.from_numpy(train.mean(0)))
    model.get_buffer("scale").copy_(torch.from_numpy(train.std(0) + 1e-6))
    model.get_buffer("projection").copy_(torch.from_numpy(projection.matrix))
    model.get_buffer("projected_mean").copy_(torch.from_numpy(projection.mean))
    model.get_buffer("population").copy_(torch.from_numpy(projection.population))
    model.get_buffer("knows_strength").fill_(float(bool((~labels.strong[rows].isnan()).any())))
    sampler = RowSampler(corpus, corpora, seed)
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)

    def loss_of_step(step: int) -> Tensor:
        some, copies = sampler.draw(step, BATCH)
        embedding = torch.from_numpy(corpus.embeddings[some, copies])
        reading: Reading = model(embedding, *drawn_profiles(speakers, some, seed, step))
        by_class = reading.emotion.transpose(1, 2)  # (N, emotions, readers)
        emotion = labels.emotion[some]
        each = emotion[:, None].expand(-1, by_class.shape[2])
        loss: Tensor = (
            functional.cross_entropy(by_class, each, label_smoothing=_SMOOTHING)
            + functional.cross_entropy(by_class.mean(2), emotion)
            + _LEVELS_WEIGHT * functional.nll_loss(reading.levels, labels.levels[some, copies])
            + _STRENGTH_WEIGHT * _log_odds_loss(reading.strength, labels.strong[some])
            + _GENDER_WEIGHT * _log_odds_loss(reading.femininity, labels.female[some])
        )
        return loss

    fit(
        name, nn.ModuleDict({"reader": model}), loss_of_step,
        steps=steps, learning_rate=2e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model


def _log_odds_loss(log_odds: Tensor, happened: Tensor) -> Tensor:
    """Return the loss of (N,) log-odds against (N,) labels, over the rows whose label is known."""
    known = ~happened.isnan()
    if not known.any():
        return log_odds.sum() * 0
    return functional.binary_cross_entropy_with_logits(log_odds[known], happened[known])


def drawn_profiles(
    speakers: ProfileSampler, rows: NDArray[np.int64], seed: int, step: int, **options: float
) -> tuple[Tensor, Tensor]:
    """Return (N, E) profiles and (N,) weights, which depend on seed and step alone."""
    profile, weights = speakers.draw(rows, np.random.default_rng((seed, step, 11)), **options)
    return torch.from_numpy(profile), torch.from_numpy(weights)
