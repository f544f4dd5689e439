"""Running statistics of how a speaker usually sounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, MEMORY_CLIPS, ClipVoice
from ugsd_sdk.profile.usual_prosody import MAX_MEASURE, NO_PROSODY, UsualMeasure, UsualProsody

from tests.doubles.prosodies import prosody_of

_VALUES = st.none() | st.floats(-100, 100)


def statistics_of(values: list[float | None]) -> UsualMeasure:
    measure = UsualMeasure()
    for value in values:
        measure = measure.updated(value, memory_clips=MEMORY_CLIPS)
    return measure


@given(st.lists(_VALUES, max_size=MEMORY_CLIPS))
def test_statistics_are_those_of_the_measured_clips(values: list[float | None]) -> None:
    measure = statistics_of(values)
    known = [value for value in values if value is not None]
    assert measure.count == len(known)
    if known:
        assert measure.mean == pytest.approx(np.mean(known), abs=1e-9)
        assert measure.mean_square_deviation == pytest.approx(np.var(known), abs=1e-6)
    if len(known) > 1:
        assert measure.spread == pytest.approx(np.std(known, ddof=1), abs=1e-3)


@given(st.lists(st.tuples(_VALUES, _VALUES, _VALUES), max_size=20))
def test_each_measure_counts_for_itself(clips: list[tuple[float | None, ...]]) -> None:
    usual = NO_PROSODY
    for measures in clips:
        usual = usual.updated(prosody_of(*measures), memory_clips=MEMORY_CLIPS)
    columns = [[clip[column] for clip in clips] for column in range(3)]
    assert usual == UsualProsody(*map(statistics_of, columns))


def test_old_clips_fade_from_the_statistics() -> None:
    measure = statistics_of([0.0, 10.0] * 200 + [20.0] * 400)
    assert measure.count == 800
    assert measure.mean == pytest.approx(20, abs=0.1)
    assert measure.spread < 1


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1.1 * MAX_MEASURE])
def test_unusable_measure_does_not_count(value: float | None) -> None:
    measure = statistics_of([1.0, 2.0])
    assert measure.updated(value, memory_clips=MEMORY_CLIPS) is measure


def test_profile_counts_clips_with_prosody() -> None:
    profile = EMPTY_PROFILE
    for take in range(4):
        prosody = prosody_of(pitch_st=float(take)) if take % 2 else None
        profile = profile.updated(ClipVoice(np.ones(3, np.float32), prosody=prosody))
    assert profile.count == 4
    assert profile.usual.pitch_st == UsualMeasure(2, 2.0, 1.0)
    assert profile.usual.pace == profile.usual.effort_db == UsualMeasure()
