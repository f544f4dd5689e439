"""Speech of any length is read in windows of one length, and their embeddings are pooled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.speech.windows import (
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


@pytest.mark.parametrize(("rms", "expected"), [(1e-6, 0.05), (0.02, 0.02), (3.0, 0.05)])
def test_only_unusual_levels_are_changed(rms: float, expected: float) -> None:
    speech = noise(50_000) * np.float32(rms)

    assert np.isclose(levelled(speech).std(), expected, rtol=2e-2)


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
