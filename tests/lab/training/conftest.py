"""Fixtures for tests of training: a small corpus and untrained networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.models.networks import CaptionDecoder, EmotionReader
from ugsd_lab.training.corpus import Corpus

from tests.doubles.threads import one_thread
from tests.lab.training.small_corpus import EMBEDDING_DIM, some_clips

__all__ = ["corpus", "decoder", "one_thread", "reader"]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    clips = some_clips()
    rng = np.random.default_rng(0)
    measures = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    embeddings = rng.normal(size=(len(clips), 3, EMBEDDING_DIM)).astype(np.float32)
    return Corpus(clips, embeddings, measures, Norms.fit(clips, measures))


@pytest.fixture(scope="module")
def reader() -> EmotionReader:
    torch.manual_seed(0)
    reader = EmotionReader(EMBEDDING_DIM)
    for name in ("population", "projection", "projected_mean"):
        reader.get_buffer(name).normal_()
    return reader.eval()


@pytest.fixture(scope="module")
def decoder(vocabulary: Vocabulary) -> CaptionDecoder:
    torch.manual_seed(0)
    return CaptionDecoder(len(vocabulary), width=16, layers=1, heads=2).eval()
