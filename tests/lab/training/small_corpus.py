"""A small corpus with random audio embeddings, for tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.models.networks import STATE_DIM
from ugsd_lab.training.corpus import Corpus, Projection

EMBEDDING_DIM = STATE_DIM + 16


def some_clips() -> list[Clip]:
    """EMO-DB, with a third of it as if from another corpus of speakers of the same names."""
    clips = load_corpora(None)
    return [replace(clip, corpus="ravdess") if i % 3 == 0 else clip for i, clip in enumerate(clips)]


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


def parts_of(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings of four parts of each clip."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(len(embedding), 4, embedding.shape[1]))
    return (embedding[:, None] + noise).astype(np.float32)


def fitted(corpus: Corpus, corpora: Sequence[str]) -> Projection:
    rows = corpus.rows(corpora, "train")
    return Projection.fit(corpus, rows, parts_of(corpus.clean_embeddings[rows]))
