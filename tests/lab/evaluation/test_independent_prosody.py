"""Prosody measured without the device's code, on voices of known pitch, level and pauses."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.prosody import Measures
from ugsd_lab.evaluation.independent_prosody import independent_prosody
from ugsd_sdk.prosody.prosody import Prosody

RATE = 16_000
Samples = NDArray[np.float32]
MEASURES = Measures(
    pitch_st=3.0, pitch_sd_st=float("nan"), level_db=-20.0, pace=float("nan"), pause_share=0.0,
    tilt_db=-10.0, cpp_db=19.0,
)  # fmt: skip


def voice(seconds: float, hz: float = 120.0, gain: float = 0.2) -> Samples:
    """A buzz of ten harmonics that swells five times per second, as syllables do."""
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 11))
    return np.asarray(gain * buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 5 * t)), dtype=np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def measured(*parts: Samples) -> Prosody:
    prosody = independent_prosody(np.concatenate(parts), MEASURES)
    assert prosody is not None
    return prosody


def test_pauses_are_found_at_their_place() -> None:
    prosody = measured(silence(0.5), voice(1), silence(0.8), voice(1), silence(0.1), voice(1))
    (pause,) = prosody.pauses
    assert (pause.start_s, pause.end_s) == pytest.approx((1.5, 2.3), abs=0.15)
    assert prosody.start_s == pytest.approx(0.5, abs=0.1)
    assert prosody.end_s == pytest.approx(4.4, abs=0.1)


def test_breath_before_the_voice_is_no_speech() -> None:
    breath = np.random.default_rng(0).normal(0, 0.05, RATE // 5).astype(np.float32)
    prosody = measured(silence(0.2), breath, silence(0.5), voice(1), silence(0.5), breath)
    assert prosody.pauses == ()
    assert prosody.start_s == pytest.approx(0.9, abs=0.1)
    assert prosody.end_s == pytest.approx(1.9, abs=0.1)


def test_changes_have_their_sign() -> None:
    prosody = measured(voice(1, 110, 0.05), voice(1, 130, 0.1), voice(1, 165, 0.2))
    assert prosody.changes is not None
    assert prosody.changes.level_db == pytest.approx(12, abs=2)
    assert prosody.changes.pitch_st == pytest.approx(7, abs=1)
    assert prosody.changes.final_pitch_st == pytest.approx(4, abs=1)
    assert prosody.changes.pace == pytest.approx(0, abs=1.5)


def test_strongest_stress_is_found() -> None:
    prosody = measured(voice(1.4, gain=0.05), voice(0.4, gain=0.4), voice(1.4, gain=0.05))
    assert prosody.emphasis is not None
    assert prosody.emphasis.place == pytest.approx(0.5, abs=0.06)
    assert prosody.emphasis.prominence_db > 3


def test_noise_has_no_pitch_to_change() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    prosody = measured(noise)
    assert prosody.changes is not None
    assert prosody.changes.pitch_st is None
    assert prosody.changes.final_pitch_st is None


def test_short_and_silent_recordings_have_no_change() -> None:
    short = measured(voice(0.6))
    assert short.changes is None
    assert short.emphasis is None
    assert independent_prosody(silence(1), MEASURES) is None


def test_unknown_measures_become_none() -> None:
    prosody = measured(voice(1.2))
    assert (prosody.pitch_st, prosody.variation_st, prosody.pace) == (3.0, None, None)
