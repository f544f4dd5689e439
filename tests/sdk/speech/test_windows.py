"""Speech of any length is read in windows of one length, and their embeddings are pooled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.speech.windows import (
    SPEECH_RMS,
    WINDOW_S,
    embed_in_windows,
    encoder_windows,
    levelled,
    pooled,
)


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def mean_and_deviation(outputs: np.ndarray) -> np.ndarray:
    return np.array([outputs.mean(), outputs.std()])


@settings(max_examples=50)
@given(st.integers(1, 200_000))
def test_windows_hold_all_speech_in_order(num_samples: int) -> None:
    speech = noise(num_samples)

    windows = encoder_windows(speech)

    lengths = [len(window) for window in windows]
    assert max(lengths) <= WINDOW_S * 16_000
    assert max(lengths) - min(lengths) <= 1
    assert np.array_equal(np.concatenate(windows), speech)


@pytest.mark.parametrize("rms", [1e-6, 0.02, 0.05, 3.0])
def test_speech_is_read_at_one_level(rms: float) -> None:
    speech = noise(50_000) * np.float32(rms)

    assert np.isclose(levelled(speech).std(), SPEECH_RMS, rtol=2e-2)


def test_silence_is_not_amplified() -> None:
    assert not levelled(np.zeros(1000, np.float32)).any()


def test_embedding_of_one_part_is_its_own() -> None:
    embedding = noise(8)

    assert pooled([embedding], [3.0]) is embedding


@given(st.integers(1, 300_000))
@settings(max_examples=20)
def test_windows_pool_to_the_whole(num_samples: int) -> None:
    speech = noise(num_samples)

    embedding = embed_in_windows(mean_and_deviation, speech)

    assert np.allclose(embedding, mean_and_deviation(levelled(speech)), atol=1e-5)


def test_shorter_windows_are_at_most_as_long() -> None:
    speech = noise(100_000)

    lengths = [len(window) for window in encoder_windows(speech, 1.0)]
    assert max(lengths) <= 16_000
    assert sum(lengths) == len(speech)
    whole, parts = (embed_in_windows(mean_and_deviation, speech, s) for s in (9.0, 1.0))
    assert np.allclose(whole, parts, atol=1e-5)
