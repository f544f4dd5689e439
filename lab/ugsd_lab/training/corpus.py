"""Clips with everything that training reads of them, and the projection of states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.augment import drawn_speed
from ugsd_lab.data.captions import AttributeLabels
from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.data.training_recordings import TrainingRecordings, copy_rng
from ugsd_lab.models.discriminant import discriminant
from ugsd_lab.models.networks import STATE_DIM

__all__ = ["Corpus", "Projection"]


@dataclass(frozen=True)
class Corpus:
    """Clips with everything that training reads of them, row by row."""

    clips: Sequence[Clip]
    embeddings: NDArray[np.float32]
    """(n, 1 + copies, E): the audio embeddings of each clip and of its augmented copies."""
    measures: dict[str, Measures]
    norms: Norms

    @property
    def clean_embeddings(self) -> NDArray[np.float32]:
        """(n, E), of the clips without augmentation."""
        return self.embeddings[:, 0]

    @cached_property
    def _recordings(self) -> TrainingRecordings:
        return TrainingRecordings(self.clips)

    def labels(self, row: int, copy: int = 0) -> AttributeLabels:
        """Return the labels of a clip, or of its copy: one joined with another clip has the average
        of both, and one played faster is also higher."""
        clip = self.clips[row]
        measures = self.measures[clip.id]
        if copy and clip.split == "train":
            companion = self._recordings.companion(clip, copy)
            if companion is not None:
                measures = measures.joined(self.measures[companion.id])
            measures = measures.faster(drawn_speed(copy_rng(clip, copy)))
        return AttributeLabels.of(clip, self.norms.levels(clip, measures))

    def rows(self, corpora: Sequence[str], split: str) -> NDArray[np.int64]:
        return np.array(
            [i for i, c in enumerate(self.clips) if c.corpus in corpora and c.split == split],
            dtype=np.int64,
        )


@dataclass(frozen=True)
class Projection:
    """What makes states: a linear discriminant from audio embeddings to STATE_DIM numbers.

    It keeps the directions in which a speaker's emotions differ most relative to the parts of one
    clip, which share the voice and the emotion but not the words, so that a state describes the
    emotion rather than the words. The speaker profile is subtracted from the embedding before.
    """

    matrix: NDArray[np.float32]
    """(E, STATE_DIM)"""
    mean: NDArray[np.float32]
    """(STATE_DIM,), subtracted afterwards."""
    population: NDArray[np.float32]
    """(E,) the average embedding, used for a speaker without a profile."""

    @classmethod
    def fit(cls, corpus: Corpus, rows: NDArray[np.int64], parts: NDArray[np.float32]) -> Projection:
        """Fit to the clips of ``rows`` (N,) and the (N, P, E) embeddings of their parts."""
        speakers = [(corpus.clips[i].corpus, corpus.clips[i].speaker) for i in rows]
        emotions = [corpus.clips[i].emotion for i in rows]
        mean, matrix = discriminant(
            corpus.clean_embeddings[rows], speakers, emotions, parts, STATE_DIM
        )
        return cls(
            matrix.astype(np.float32),
            (mean @ matrix).astype(np.float32),
            mean.astype(np.float32),
        )
