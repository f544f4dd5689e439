"""Speech of any length is read in windows of one length, and their embeddings are pooled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.speech.windows import (
    FRAME_SAMPLES,
    SPEECH_RMS,
    WINDOW_S,
    embed_in_windows,
    embed_windows,
    encoder_frames,
    encoder_windows,
    levelled,
    pooled,
)


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def mean_and_deviation(outputs: np.ndarray) -> np.ndarray:
    return np.array([outputs.mean(), outputs.std()])


def hops(frames: np.ndarray) -> np.ndarray:
    """Return the middle 160 samples of each frame (N, F, 400), which do not overlap."""
    return frames[..., FRAME_SAMPLES // 2 : FRAME_SAMPLES // 2 + 160]


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

    windows = encoder_windows(speech)
    embedding = pooled([mean_and_deviation(window) for window in windows], list(map(len, windows)))

    assert np.allclose(embedding, mean_and_deviation(speech), atol=1e-5)


@given(st.integers(FRAME_SAMPLES, 40_000))
@settings(max_examples=20)
def test_frames_hold_the_window_mirrored_at_its_ends(num_samples: int) -> None:
    window = noise(num_samples)
    frames = encoder_frames(window)

    assert frames.shape == (num_samples // 160, FRAME_SAMPLES)
    assert np.array_equal(hops(frames).reshape(-1), window[: num_samples // 160 * 160])
    assert np.array_equal(frames[0, :200], window[200:0:-1])
    start = 160 * (len(frames) - 1) - 200
    within = window[max(start, 0) :][: FRAME_SAMPLES - max(-start, 0)]
    assert np.array_equal(frames[-1, max(-start, 0) :][: len(within)], within)


@given(st.lists(st.integers(FRAME_SAMPLES, 2_000), min_size=1, max_size=12))
def test_windows_are_encoded_in_order_whatever_their_lengths(lengths: list[int]) -> None:
    windows = [noise(length, seed) for seed, length in enumerate(lengths)]
    batches = []

    def encode(frames: np.ndarray) -> np.ndarray:
        batches.append(len(frames))
        return frames.sum(axis=(1, 2))[:, None]

    embeddings = embed_windows(encode, windows)

    assert max(batches) <= 4
    expected = [encoder_frames(window).sum() for window in windows]
    assert np.allclose(np.concatenate(embeddings), expected, rtol=1e-4, atol=1e-2)


def test_shorter_windows_are_at_most_as_long() -> None:
    speech = noise(100_000)

    lengths = [len(window) for window in encoder_windows(speech, 1.0)]
    assert max(lengths) <= 16_000
    assert sum(lengths) == len(speech)
    whole, parts = (
        embed_in_windows(
            lambda frames: np.stack([mean_and_deviation(f) for f in hops(frames)]), speech, s
        )
        for s in (9.0, 1.0)
    )
    assert np.allclose(whole, parts, atol=1e-3)
