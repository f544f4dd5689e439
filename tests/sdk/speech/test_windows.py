"""Speech of any length is read in windows of one length and level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.speech.windows import LEVEL_RMS, WINDOW_S, encoder_windows, pooled


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


@settings(max_examples=50)
@given(st.integers(1, 200_000))
def test_windows_hold_the_speech_in_order(num_samples: int) -> None:
    speech = noise(num_samples)

    windows = encoder_windows(speech)

    count, length = windows.shape
    assert length <= WINDOW_S * 16_000
    assert num_samples - count < count * length <= num_samples
    scale = LEVEL_RMS / np.sqrt(np.mean(speech.astype(np.float64) ** 2))
    assert np.allclose(windows.ravel(), speech[: count * length] * scale, atol=1e-5)


@pytest.mark.parametrize("gain", [1e-4, 0.1, 3.0])
def test_gain_changes_nothing(gain: float) -> None:
    speech = noise(50_000)

    assert np.allclose(encoder_windows(speech * np.float32(gain)), encoder_windows(speech))


def test_silence_is_not_amplified() -> None:
    assert not encoder_windows(np.zeros(1000, np.float32)).any()


def test_embedding_of_one_piece_is_its_own() -> None:
    embedding = noise(8)

    assert pooled([embedding], [3.0]) is embedding


def test_pieces_pool_as_one_recording() -> None:
    outputs = noise(700 * 4).reshape(700, 4)
    pieces = [outputs[:100], outputs[100:250], outputs[250:]]

    def embedding(part: np.ndarray) -> np.ndarray:
        return np.concatenate([part.mean(0), part.std(0)])

    joined = pooled([embedding(piece) for piece in pieces], [len(piece) for piece in pieces])

    assert np.allclose(joined, embedding(outputs), atol=1e-5)
