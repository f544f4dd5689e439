from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_lab.data import augment
from ugsd_lab.data.augment import augmented, drawn_speed

RATE = 16_000
STEPS = [step for step, _ in augment._STEPS]
CODECS = [augment._mu_law, augment._mp3, augment._opus]


def voice(n: int = RATE, *, peak: float = 0.5) -> NDArray[np.float32]:
    """Return harmonics of 150 Hz that swell and fade four times a second."""
    time_s = np.arange(n) / RATE
    wave: NDArray[np.float64] = 1.1 + np.sin(2 * np.pi * 4 * time_s)
    wave *= np.sum([np.sin(2 * np.pi * 150 * k * time_s) / k for k in range(1, 20)], axis=0)
    scaled: NDArray[np.float32] = (peak * wave / np.abs(wave).max()).astype(np.float32)
    return scaled


def noise(n: int = 4 * RATE) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def power(samples: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def band_power(samples: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    """Return the mean power of the bins of a band."""
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].mean())


def assert_sound(samples: NDArray[np.float32]) -> None:
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 2 * RATE) | st.sampled_from([1, 2, 1600]),
    peak=st.sampled_from([0.0, 1e-30, 1e-4, 0.3, 1.0]),
)
def test_augmented_clip_stays_valid_within_speed_bounds(seed: int, n: int, peak: float) -> None:
    clip = voice(n + 8, peak=peak)[8:]
    output = augmented(clip, np.random.default_rng(seed))
    assert_sound(output)
    assert max(1, n / 1.2 - 1) <= len(output) <= n / 0.8 + 1


def test_augmentation_is_determined_by_its_generator() -> None:
    clip = voice()
    first, again, other = (augmented(clip, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_augmentation_never_modifies_or_returns_its_input() -> None:
    clip = voice(1600)
    before = clip.copy()
    for seed in range(60):
        assert not np.shares_memory(augmented(clip, np.random.default_rng(seed)), clip)
    np.testing.assert_array_equal(clip, before)


def test_each_step_has_its_declared_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    count = np.zeros(len(STEPS))

    def counted(index: int) -> augment._Step:
        def step(samples: NDArray[np.float32], _: np.random.Generator) -> NDArray[np.float32]:
            count[index] += 1
            return samples

        return step

    table = tuple((counted(i), probability) for i, (_, probability) in enumerate(augment._STEPS))
    monkeypatch.setattr(augment, "_STEPS", table)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        augmented(noise(4), rng)
    np.testing.assert_allclose(count / 2000, [p for _, p in table], atol=0.04)
    assert all(0 < p < 1 for _, p in table)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("n", [1, 2, 3, 1600, 1601])
def test_each_step_accepts_short_and_silent_clips(step: augment._Step, n: int) -> None:
    silence = step(np.zeros(n, dtype=np.float32), np.random.default_rng(1))
    assert_sound(silence)
    assert np.abs(silence).max() < 1e-3
    output = step(noise(n), np.random.default_rng(1))
    assert np.isfinite(output).all()
    assert output.dtype == np.float32
    assert len(output) == n


def test_half_of_the_clips_change_speed_uniformly() -> None:
    speeds = np.array([drawn_speed(np.random.default_rng(seed)) for seed in range(4000)])
    changed = speeds[speeds != 1]
    assert len(changed) / len(speeds) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(
        np.quantile(changed, [0, 0.25, 0.5, 0.75, 1]), [0.8, 0.9, 1, 1.1, 1.2], atol=0.015
    )


@pytest.mark.parametrize("seed", range(6))
def test_reverberation_tail_decays_in_t60(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    t60_s, direct_db = drawn.uniform(0.1, 0.6), drawn.uniform(-3, 15)
    click = np.zeros(RATE, dtype=np.float32)
    click[0] = 1
    room = augment.reverberation(click, np.random.default_rng(seed))
    assert decibels(room[0] ** 2 / np.sum(room[1:] ** 2)) == pytest.approx(direct_db, abs=0.1)
    assert np.sum(room**2) == pytest.approx(1, abs=1e-3)
    early, late = (
        power(room[round(at * t60_s * RATE) :][: round(0.1 * t60_s * RATE)]) for at in (0.05, 0.55)
    )
    assert decibels(early / late) == pytest.approx(30, abs=4)
    assert np.abs(room[round(t60_s * RATE) + 1 :]).max() < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_noise_has_the_drawn_snr_and_slope(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    slope, snr_db = drawn.uniform(0, 2), drawn.uniform(5, 35)
    clip = voice(8 * RATE)
    added = augment._noise(clip, np.random.default_rng(seed)) - clip
    assert decibels(power(clip) / power(added)) == pytest.approx(snr_db, abs=0.1)
    fall_db = decibels(band_power(added, 200, 400) / band_power(added, 3200, 6400))
    assert fall_db == pytest.approx(slope * decibels(16), abs=1)


def test_microphone_filter_is_gentle_and_varies() -> None:
    clip = noise(RATE)
    tilts_db = []
    for seed in range(30):
        output = augment._microphone(clip, np.random.default_rng(seed))
        gains_db = [
            decibels(band_power(output, low, low + 500) / band_power(clip, low, low + 500))
            for low in range(0, 8000, 500)
        ]
        assert np.abs(gains_db).max() < 20
        tilts_db.append(gains_db[-1] - gains_db[0])
    assert min(tilts_db) < -3
    assert max(tilts_db) > 3


def test_microphone_filter_equals_its_recursion() -> None:
    (z1, z2), (p1, p2) = np.random.default_rng(5).uniform(-3 / 8, 3 / 8, (2, 2))
    x = np.concatenate([[0, 0], noise(400)])
    y = np.zeros_like(x)
    for n in range(2, len(x)):
        y[n] = x[n] + z1 * x[n - 1] + z2 * x[n - 2] - p1 * y[n - 1] - p2 * y[n - 2]
    output = augment._microphone(noise(400), np.random.default_rng(5))
    np.testing.assert_allclose(output, y[2:], atol=1e-6)


@pytest.mark.parametrize("peak", [0.01, 0.9])
def test_level_scales_without_clipping(peak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_STEPS", ((augment._level, 1.0),))
    monkeypatch.setattr(augment, "drawn_speed", lambda rng: 1.0)
    clip = voice(peak=peak)
    gains = []
    for seed in range(60):
        output = augmented(clip, np.random.default_rng(seed))
        gains.append(np.abs(output).max() / peak)
        np.testing.assert_allclose(output, clip * gains[-1], atol=1e-6)
    assert 0.1 - 1e-4 <= min(gains) < 0.2
    assert max(gains) == pytest.approx(min(2, 1 / peak), rel=0.1)


@pytest.mark.parametrize("codec", CODECS)
def test_codec_keeps_time_and_voice_not_samples(codec: augment._Step) -> None:
    clip = voice(2 * RATE)
    output = codec(clip, np.random.default_rng(2))
    assert len(output) == len(clip)
    lags = range(-200, 201)
    agreement = [float(np.dot(np.roll(output, lag)[300:-300], clip[300:-300])) for lag in lags]
    assert abs(lags[int(np.argmax(agreement))]) <= 2
    assert np.corrcoef(output, clip)[0, 1] > 0.9
    assert power(output - clip) > 1e-8


def test_mu_law_removes_frequencies_above_4_khz() -> None:
    clip = noise()
    output = augment._mu_law(clip, np.random.default_rng(0))
    assert decibels(band_power(output, 4200, 8000) / band_power(clip, 4200, 8000)) < -30
    assert decibels(band_power(output, 300, 3400) / band_power(clip, 300, 3400)) == pytest.approx(
        0, abs=0.5
    )


def test_step_that_would_clip_is_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_STEPS", ((lambda samples, _: samples * np.float32(3), 1.0),))
    monkeypatch.setattr(augment, "drawn_speed", lambda rng: 1.0)
    clip = voice(1600, peak=0.9)
    output = augmented(clip, np.random.default_rng(0))
    assert np.abs(output).max() == 1
    np.testing.assert_allclose(output, clip / 0.9, atol=1e-6)
