"""Fixtures for tests of training: a small corpus, its vocabulary and an untrained drafter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ugsd_lab.data.captions import references
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.models.networks import DrafterDecoder
from ugsd_lab.training.train import Corpus

from tests.doubles.threads import one_thread
from tests.lab.training.small_corpus import EMBEDDING_DIM, some_clips

__all__ = ["corpus", "drafter", "one_thread", "vocabulary"]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    clips = some_clips()
    rng = np.random.default_rng(0)
    measures = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    embeddings = rng.normal(size=(len(clips), 3, EMBEDDING_DIM)).astype(np.float32)
    return Corpus(clips, embeddings, measures, Norms.fit(clips, measures))


@pytest.fixture(scope="module")
def vocabulary(corpus: Corpus) -> Vocabulary:
    return Vocabulary.train(
        text
        for row, clip in enumerate(corpus.clips)
        for text in references(clip, corpus.labels(row).levels, gender=False)
    )


@pytest.fixture(scope="module")
def drafter(vocabulary: Vocabulary) -> DrafterDecoder:
    torch.manual_seed(0)
    drafter = DrafterDecoder(EMBEDDING_DIM, len(vocabulary), width=16, layers=1, heads=2)
    for name in ("population", "projection", "projected_mean"):
        drafter.get_buffer(name).normal_()
    return drafter.eval()
