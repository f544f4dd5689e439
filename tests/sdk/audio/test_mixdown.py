"""One channel of many, and the level of what is heard."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_clip

from tests.sdk.audio.clips import assert_is_tone, encoded, tone

RATE = 16_000


def noise(seconds: float = 1.0, rms: float = 0.1, seed: int = 0) -> NDArray[np.float64]:
    samples = np.random.default_rng(seed).standard_normal(int(RATE * seconds))
    return rms * (samples - samples.mean())


def test_stereo_is_averaged_and_resampled() -> None:
    left, right = tone(96_000, amplitude=0.8), tone(96_000, amplitude=0.2)
    assert_is_tone(read_clip(encoded(np.stack([left, right], 1), 96_000, "WAV", "PCM_16")))


@pytest.mark.parametrize("gain", [-1.0, -0.8, -0.2])
def test_opposed_channels_do_not_cancel(gain: float) -> None:
    voice = noise()
    samples = read_clip(np.stack([voice, gain * voice], 1), RATE)
    np.testing.assert_allclose(samples, voice * (1 - gain) / 2, atol=1e-3)


def test_opposed_channels_of_a_file_do_not_cancel() -> None:
    voice = noise(40)
    data = encoded(np.stack([voice, -voice], 1), RATE, "FLAC", "PCM_16")
    np.testing.assert_allclose(read_clip(data), voice, atol=1e-3)


def test_independent_channels_are_averaged() -> None:
    left, right = noise(seed=1), noise(seed=2)
    samples = read_clip(np.stack([left, right], 1), RATE)
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 6, 8])
@pytest.mark.parametrize("at", [0, 1])
def test_silent_channels_do_not_weaken_a_voice(channels: int, at: int) -> None:
    samples = np.stack([noise(rms=1e-5, seed=n) for n in range(channels)], 1)
    samples[:, at] = noise()
    np.testing.assert_allclose(read_clip(samples, RATE), samples[:, at], atol=1e-6)


def test_surround_sound_is_heard() -> None:
    assert_is_tone(read_clip(encoded(np.stack([tone(48_000)] * 6, 1), 48_000, "WAV", "PCM_24")))


@pytest.mark.parametrize("offset", [100.0, -0.3, 1e6])
def test_a_constant_offset_is_removed(offset: float) -> None:
    voice = tone(RATE)
    np.testing.assert_allclose(read_clip(voice + offset, RATE), voice, atol=1e-5)
    two = np.stack([voice + offset, voice - offset], 1)
    np.testing.assert_allclose(read_clip(two, RATE), voice, atol=1e-5)


@pytest.mark.parametrize("seconds", [1, 40])
def test_a_small_offset_is_removed(seconds: int) -> None:
    voice = noise(seconds) * np.repeat([1, 0.01, 0.3, 0], int(RATE * seconds) // 4)
    voice -= voice.mean()
    np.testing.assert_allclose(read_clip(voice + 0.03 * voice.std(), RATE), voice, atol=1e-5)


def test_a_click_in_silence_is_no_offset() -> None:
    click = np.zeros(RATE, np.float32)
    click[100:140] = 0.5
    np.testing.assert_array_equal(read_clip(click, RATE), click)


def test_an_offset_of_integers_is_removed() -> None:
    samples = (tone(RATE) * 2**15 + 5_000).astype(np.int16)
    assert_is_tone(read_clip(samples, RATE))


def test_clean_samples_are_not_touched() -> None:
    samples = noise().astype(np.float32)
    np.testing.assert_array_equal(read_clip(samples, RATE), samples)


@pytest.mark.parametrize("rate", [8_000, RATE, 44_100])
@pytest.mark.parametrize("seconds", [1, 40])
def test_loud_floats_are_scaled_as_a_whole(rate: int, seconds: int) -> None:
    loud = 32_768 * tone(rate, seconds)
    loud[: len(loud) // 2] /= 100
    samples = read_clip(loud, rate)
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-3)
    middle = len(samples) // 2
    assert np.abs(samples[: middle - 200]).max() == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("seconds", [1, 40])
def test_full_scale_is_not_cut_by_resampling(seconds: int) -> None:
    square = np.sign(tone(44_100, seconds)).astype(np.float32)
    samples = read_clip(square, 44_100)
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-6)
    assert np.sum(np.abs(samples) == 1) < 0.01 * len(samples), "peaks were cut off"


def test_quiet_sound_keeps_its_level() -> None:
    quiet = (1e-4 * noise()).astype(np.float32)
    np.testing.assert_array_equal(read_clip(quiet, RATE), quiet)
