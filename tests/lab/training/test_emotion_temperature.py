"""The temperature of the emotion's probabilities."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.models.export import OodScore, _ConditioningNetwork
from ugsd_lab.models.networks import EmotionReader
from ugsd_lab.training.corpus import Corpus
from ugsd_lab.training.emotion_temperature import (
    CalibratedDrafter,
    EmotionTemperature,
    _fitted,
    _Observed,
    fit_temperatures,
)

from tests.lab.training.small_corpus import EMBEDDING_DIM

COUNT = 4000


def observed(sharpness: float, ood: float = 1.0) -> _Observed:
    """Return scores that are ``sharpness`` times as sure as they should be."""
    generator = torch.Generator().manual_seed(0)
    scores = (2 * torch.randn(COUNT, len(EMOTIONS), generator=generator)).log_softmax(-1)
    emotion = torch.multinomial(scores.exp(), 1, generator=generator)[:, 0]
    return _Observed(sharpness * scores, torch.full((COUNT,), ood), emotion)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0, 4.0])
def test_temperature_undoes_overconfidence(sharpness: float) -> None:
    level, slope = _fitted([observed(sharpness)], slope=0.0)
    assert slope == 0
    assert np.exp(level) == pytest.approx(sharpness, rel=0.1)


def test_temperature_grows_with_the_ood_score() -> None:
    level, slope = _fitted([observed(1.0, ood=0.5), observed(4.0, ood=2.0)])
    assert slope > 0.3
    assert np.exp(level + 2 * slope) == pytest.approx(4, rel=0.2)
    assert np.exp(level + 0.5 * slope) == pytest.approx(1, rel=0.2)


class _Overconfident(EmotionReader):
    """Reads the emotion that half of the clips have, and is almost certain of it."""

    def __init__(self, emotion: int) -> None:
        super().__init__(EMBEDDING_DIM)
        self.certain = torch.full((len(EMOTIONS),), -8.0)
        self.certain[emotion] = 0

    def forward(self, embedding: torch.Tensor, *_: torch.Tensor) -> SimpleNamespace:  # type: ignore[override]
        scores = self.certain.expand(len(embedding), 2, -1)
        return SimpleNamespace(emotion=scores.log_softmax(-1))


def ood_score() -> OodScore:
    rng = np.random.default_rng(0)
    return OodScore.fit(rng.normal(size=(90, EMBEDDING_DIM)).astype(np.float32), slice(0, 20))


def halves(corpus: Corpus) -> Corpus:
    """Return a corpus in which half of the clips are sad."""
    clips = [replace(c, emotion=("sad", "happy")[i % 2]) for i, c in enumerate(corpus.clips)]
    return replace(corpus, clips=clips)


def test_overconfident_reader_gets_a_higher_temperature(corpus: Corpus) -> None:
    reader = _Overconfident(EMOTIONS.index("sad"))
    drafters = {"tiny": CalibratedDrafter(reader, ood_score(), ["emodb"])}
    found = fit_temperatures(halves(corpus), drafters, ["tiny"])["tiny"]
    assert found.level > 0
    assert found.slope == 0, "there is no other corpus to fit the growth on"


def test_each_drafter_has_its_level_and_all_the_growth(corpus: Corpus) -> None:
    sad, happy = (_Overconfident(EMOTIONS.index(emotion)) for emotion in ("sad", "happy"))
    drafters = {
        "starter": CalibratedDrafter(sad, ood_score(), ["emodb", "ravdess"]),
        "free": CalibratedDrafter(happy, ood_score(), ["emodb"]),
    }
    found = fit_temperatures(halves(corpus), drafters, list(drafters))
    assert found["starter"].slope == found["free"].slope >= 0
    for one in found.values():
        assert one.level + one.slope * np.log1p(1.0) > 0


@given(
    level=st.floats(-2, 3), slope=st.floats(0, 2), seed=st.integers(0, 2**31), size=st.floats(0, 3)
)
def test_likeliest_emotion_stays_the_likeliest(
    reader: EmotionReader, level: float, slope: float, seed: int, size: float
) -> None:
    fit = EmotionTemperature(level, slope)
    network = _ConditioningNetwork(reader, ood_score(), fit.level, fit.slope).eval()
    generator = torch.Generator().manual_seed(seed)
    embedding = 10**size * torch.randn(4, EMBEDDING_DIM, generator=generator)
    inputs = (embedding, torch.zeros_like(embedding), torch.zeros(4))
    with torch.inference_mode():
        emotion = network(*inputs)[0]
        exact = reader(*inputs).emotion.mean(1)
    torch.testing.assert_close(emotion.exp().sum(1), torch.ones(4))
    best = exact.argmax(1, keepdim=True)
    top = emotion.gather(1, best)[:, 0]
    torch.testing.assert_close(top, emotion.max(1).values)
