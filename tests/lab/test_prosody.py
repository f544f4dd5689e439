from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.corpora import load_corpora
from ugsd_lab.prosody import Measures, Norms, measure, measure_all

RATE = 16_000


def buzz(hz: float, seconds: float = 1.0, amplitude: float = 0.3) -> NDArray[np.float32]:
    """A harmonic tone, as voices are."""
    t = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 12))
    return (amplitude * tone / np.abs(tone).max()).astype(np.float32)


def test_pitch_is_in_semitones_above_100_hz() -> None:
    assert measure(buzz(200), 4).pitch_st == pytest.approx(12, abs=0.3)
    assert measure(buzz(100), 4).pitch_st == pytest.approx(0, abs=0.3)


def test_a_steady_tone_has_no_melody_and_two_tones_do() -> None:
    steady = measure(buzz(150, 2), 4).pitch_sd_st
    moving = measure(np.concatenate([buzz(120), buzz(240)]), 4).pitch_sd_st
    assert steady < 0.5 < 4 < moving


def test_twice_the_amplitude_is_six_decibels() -> None:
    loud, soft = measure(buzz(150, amplitude=0.4), 4), measure(buzz(150, amplitude=0.2), 4)
    assert loud.level_db - soft.level_db == pytest.approx(6.02, abs=0.1)


def test_pauses_do_not_slow_the_pace() -> None:
    pause = np.zeros(RATE // 2, dtype=np.float32)
    spoken = measure(np.concatenate([buzz(150), buzz(150)]), 8)
    paused = measure(np.concatenate([buzz(150), pause, buzz(150)]), 8)
    assert paused.pause_share == pytest.approx(0.2, abs=0.05)
    assert spoken.pause_share == 0
    assert paused.pace == pytest.approx(spoken.pace, rel=0.1)


def test_noise_is_less_clear_than_a_tone() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert measure(noise, 4).cpp_db < measure(buzz(150), 4).cpp_db


def test_measures_are_kept_and_read_again(tmp_path: Path) -> None:
    clips = load_corpora(None)[:3]
    cache = tmp_path / "deep" / "measures.json"
    first = measure_all(clips, cache)
    told: list[int] = []
    assert measure_all(clips, cache, lambda done, of: told.append(done)) == first
    assert not told


def test_norms_come_from_training_speakers_alone() -> None:
    clips = load_corpora(None)
    rng = np.random.default_rng(0)
    values = {clip.id: Measures(*rng.normal(size=7)) for clip in clips}
    held_out = {clip.id: values[clip.id] for clip in clips if clip.split == "train"}
    other = {clip.id: held_out.get(clip.id, Measures(*[99.0] * 7)) for clip in clips}
    assert Norms.fit(clips, values) == Norms.fit(clips, other)
    train = [clip for clip in clips if clip.split == "train"]
    pitched = [Norms.fit(clips, values).levels(clip, values[clip.id]).pitch for clip in train]
    assert pitched.count("low") == pytest.approx(len(train) / 4, abs=2)
    assert pitched.count("high") == pytest.approx(len(train) / 4, abs=2)
