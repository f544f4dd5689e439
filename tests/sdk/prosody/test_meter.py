"""Prosody of synthetic voices, whose pitch, pace, pauses and changes are known."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.prosody import Prosody

from tests.sdk.prosody.synthetic_voices import (
    RATE,
    measured,
    noise,
    silence,
    syllables,
    voice,
    whisper,
)

_RISING = np.linspace(0.5, 1, 19_200, dtype=np.float32)
_TWO_PHRASES = (syllables(6) * _RISING, silence(0.4), syllables(6, f0_hz=190) * _RISING)


def _semitones(hz: float) -> float:
    return float(12 * np.log2(hz / 100))


def _numbers(prosody: Prosody, *, level: bool = True) -> list[float | None]:
    def flat(value: object) -> list[float | None]:
        if isinstance(value, tuple):
            return [number for inner in value for number in flat(inner)]
        assert value is None or isinstance(value, (int, float))
        return [value]

    values = [v for i, v in enumerate(astuple(prosody)) if level or i != 3]
    return flat(tuple(values))


@pytest.mark.parametrize("hz", [75, 100, 180, 260, 400, 550])
def test_pitch_of_a_steady_voice(hz: float) -> None:
    found = measured(voice(hz))
    assert found.pitch_st == pytest.approx(_semitones(hz), abs=0.15)
    assert found.variation_st == pytest.approx(0, abs=0.2)


def test_a_glide_changes_pitch() -> None:
    rising = np.linspace(120, 240, 3 * RATE)
    up, down = measured(voice(rising)).changes, measured(voice(rising[::-1])).changes
    assert up is not None
    assert down is not None
    assert up.pitch_st == pytest.approx(8, abs=1.5)
    assert down.pitch_st == pytest.approx(-8, abs=1.5)
    assert up.final_pitch_st is not None
    assert up.final_pitch_st > 3


def test_transposition_moves_pitch_alone() -> None:
    low, high = measured(voice(110)), measured(voice(220))
    assert low.pitch_st is not None
    assert high.pitch_st == pytest.approx(low.pitch_st + 12, abs=0.2)
    assert low.pauses == high.pauses == ()


@settings(deadline=None, max_examples=12)
@given(gain=st.floats(1e-4, 1))
def test_gain_changes_the_level_alone(gain: float) -> None:
    loud, quiet = measured(*_TWO_PHRASES), measured(*_TWO_PHRASES, gain=gain)
    assert _numbers(quiet, level=False) == pytest.approx(_numbers(loud, level=False), abs=0.05)
    assert quiet.level_db == pytest.approx(loud.level_db + 20 * np.log10(gain), abs=0.05)


@settings(deadline=None, max_examples=8)
@given(before_s=st.floats(0, 3))
def test_silence_around_speech_changes_nothing(before_s: float) -> None:
    plain = measured(*_TWO_PHRASES)
    padded = measured(*_TWO_PHRASES, silence(1), before_s=before_s)
    shift = plain.start_s - padded.start_s
    assert -shift == pytest.approx(before_s, abs=1e-3)
    moved = [(p.start_s + shift, p.end_s + shift) for p in padded.pauses]
    assert moved == [pytest.approx((p.start_s, p.end_s), abs=1e-3) for p in plain.pauses]
    for name in ("changes", "emphasis"):
        assert astuple(getattr(padded, name)) == pytest.approx(
            astuple(getattr(plain, name)), abs=0.02
        )
    assert padded.pitch_st == pytest.approx(plain.pitch_st, abs=0.02)


def test_reversed_speech_changes_the_other_way() -> None:
    growing = voice(150, 3, np.linspace(0.05, 0.5, 3 * RATE))
    forwards, backwards = measured(growing).changes, measured(growing[::-1].copy()).changes
    assert forwards is not None
    assert backwards is not None
    assert forwards.level_db > 6
    assert backwards.level_db == pytest.approx(-forwards.level_db, abs=0.3)


@pytest.mark.parametrize("sound", [whisper(), noise(3)])
def test_whisper_and_noise_have_no_pitch(sound: np.ndarray) -> None:
    found = measured(sound)
    assert found.pitch_st is None
    assert found.variation_st is None
    assert found.effort_db is None
    assert found.clarity_db is None


@pytest.mark.parametrize(("count", "each_s"), [(8, 0.3), (12, 0.2), (16, 0.15)])
def test_pace_counts_syllables(count: int, each_s: float) -> None:
    found = measured(syllables(count, each_s))
    assert found.pace == pytest.approx(1 / each_s, rel=0.1)


def test_pauses_between_spans_and_within_them() -> None:
    speech = syllables(5)
    between = measured(speech, silence(0.5), speech)
    within = measured(np.concatenate([speech, np.full(8000, 1e-7, np.float32), speech]))
    for found in (between, within):
        (pause,) = found.pauses
        assert pause.start_s == pytest.approx(1.0, abs=0.08)
        assert pause.end_s == pytest.approx(1.5, abs=0.08)
        assert found.speech_s == pytest.approx(2.0, abs=0.15)


def test_short_gaps_are_no_pauses() -> None:
    assert measured(syllables(5), silence(0.15), syllables(5)).pauses == ()


def test_noise_neither_hides_nor_makes_a_pause() -> None:
    with_pause = np.concatenate([syllables(5), silence(0.6), syllables(5)])
    without = syllables(10)
    for speech, expected in ((with_pause, 1), (without, 0)):
        power = float(np.mean(speech[speech != 0] ** 2))
        noisy = speech + noise(len(speech) / RATE, np.sqrt(power / 10))
        assert len(measured(noisy).pauses) == expected


def test_short_speech_has_neither_change_nor_emphasis() -> None:
    found = measured(voice(150, 0.8))
    assert (found.changes, found.emphasis, found.pace) == (None, None, None)
    assert measured(voice(150, 1.9)).changes is None


def test_emphasis_is_where_it_is_loudest() -> None:
    level = np.full(3 * RATE, 0.1)
    level[int(2.3 * RATE) : int(2.6 * RATE)] = 0.5
    found = measured(voice(150, 3, level)).emphasis
    assert found is not None
    assert found.place == pytest.approx(2.45 / 3, abs=0.05)
    assert found.prominence_db > 6


@settings(deadline=None, max_examples=15)
@given(
    duration_s=st.floats(0.01, 3),
    kind=st.sampled_from([noise, lambda s: voice(150, s), lambda s: np.ones_like(noise(s))]),
)
def test_no_measure_is_ever_nan(duration_s: float, kind: object) -> None:
    assert callable(kind)
    meter = ProsodyMeter()
    sound = kind(duration_s)
    meter.add(sound, [(0, len(sound))])
    found = meter.result()
    assert found is not None
    assert all(value is None or np.isfinite(value) for value in _numbers(found))


def test_pieces_are_measured_as_one_recording() -> None:
    speech = syllables(10)
    meter = ProsodyMeter()
    meter.add(speech, [(0, len(speech))], 0)
    meter.add(speech, [(0, len(speech))], 5 * RATE)
    found = meter.result()
    assert found is not None
    (pause,) = found.pauses
    assert (pause.start_s, pause.end_s) == pytest.approx((2, 5), abs=0.05)
    assert found.end_s == pytest.approx(7, abs=0.05)


def test_silence_is_no_speech() -> None:
    meter = ProsodyMeter()
    meter.add(silence(1), [])
    meter.add(silence(1), [(0, 8000)])
    assert meter.result() is None
    assert meter.notes() == ()
