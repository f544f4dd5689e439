"""Turning points: found where speech changes for good, and hardly ever where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_sdk.timelines.measures import Series
from ugsd_sdk.timelines.turning_points import SIGNIFICANCE, change_points, find_turning_points

from tests.doubles.timed_captions import speech_of, steady_speech


def series_of(emotions: list[str], pitch: list[float]) -> Series:
    rng = np.random.default_rng(1)
    count = len(emotions)
    timed = speech_of(
        emotions,
        pitch=[one + float(rng.normal(0, 0.7)) for one in pitch],
        pace=rng.normal(5, 0.4, count).tolist(),
        effort=rng.normal(-9, 1, count).tolist(),
    )
    return Series.of(timed, is_one_speaker=True)


def test_a_change_is_found_where_it_is() -> None:
    found = find_turning_points(series_of(["neutral"] * 12 + ["angry"] * 12, [5] * 12 + [9] * 12))
    assert [point.utterance for point in found] == [12]
    assert found[0].at_s == 48
    assert {one.value for one in found[0].relations} == {"more_agitated", "higher"}
    assert (found[0].emotion_before, found[0].emotion_after) == ("neutral", "angry")
    assert found[0].p_value <= SIGNIFICANCE
    assert str(found[0]) == "0:48 from neutral to angry; more agitated and higher than before"


def test_each_of_several_changes_is_found() -> None:
    emotions = ["neutral"] * 15 + ["angry"] * 15 + ["neutral"] * 15
    found = find_turning_points(series_of(emotions, [5] * 15 + [9] * 15 + [5] * 15))
    assert [point.utterance for point in found] == [15, 30]
    assert "calmer" in {one.value for one in found[1].relations}


@pytest.mark.parametrize("outliers", [1, 2, 3])
def test_single_utterances_change_nothing(outliers: int) -> None:
    emotions, pitch = ["neutral"] * 24, [5.0] * 24
    for index in range(outliers):
        emotions[20 + index], pitch[20 + index] = "angry", 30.0
    assert find_turning_points(series_of(emotions, pitch)) == ()


def test_few_utterances_have_no_turning_point() -> None:
    series = series_of(["neutral"] * 5 + ["angry"] * 4, [5] * 5 + [20] * 4)
    assert find_turning_points(series) == ()
    assert find_turning_points(Series.of([], is_one_speaker=True)) == ()


def test_shuffled_utterances_keep_the_stated_rate() -> None:
    """Of 400 channels without a change, at a rate of 1 %, more than 11 are as rare as 1 in 1000."""
    rng = np.random.default_rng(7)
    series = Series.of(steady_speech(40, 0), is_one_speaker=True)
    values = np.stack(list(series.values.values()), axis=1)
    alarms = sum(bool(change_points(rng.permutation(values))) for _ in range(400))
    assert alarms <= 11


def test_missing_measures_are_no_change() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(40, 2))
    values[20:, 0] = np.nan
    values[:, 1] = np.nan
    assert change_points(values) == []


def test_unnoticeable_changes_are_not_stated() -> None:
    count = 200
    rng = np.random.default_rng(5)
    pitch = rng.normal(5, 0.2, count) + np.where(np.arange(count) < 100, 0, 0.5)
    timed = speech_of(
        ["neutral"] * count, pitch=pitch.tolist(), pace=[5.0] * count, effort=[-9.0] * count
    )
    series = Series.of(timed, is_one_speaker=True)
    assert change_points(np.stack(list(series.values.values()), axis=1))
    assert find_turning_points(series) == ()


def test_small_changes_do_not_hide_a_large_one() -> None:
    rng = np.random.default_rng(5)
    steps = np.repeat([0.0, 0.5, 1.0, 9.0, 9.5, 10.0], 60)
    pitch = steps + rng.normal(5, 0.2, len(steps))
    timed = speech_of(
        ["neutral"] * len(steps),
        pitch=pitch.tolist(),
        pace=[5.0] * len(steps),
        effort=[-9.0] * len(steps),
    )
    series = Series.of(timed, is_one_speaker=True)
    values = np.stack(list(series.values.values()), axis=1)
    assert len(change_points(values)) > 1
    assert [point.utterance for point in find_turning_points(series)] == [180]


@pytest.mark.parametrize("correlation", [0.3, 0.5])
def test_moods_that_last_keep_the_rate(correlation: float) -> None:
    """Of 150 such channels, at a rate of 1 %, more than 6 are as rare as 1 in 1000."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(150):
        values = rng.normal(size=(80, 5))
        for row in range(1, 80):
            values[row] += correlation * values[row - 1]
        alarms += bool(change_points(values[20:]))
    assert alarms <= 6


def test_a_change_between_lasting_moods_is_found() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(80, 5))
    for row in range(1, 80):
        values[row] += 0.3 * values[row - 1]
    values[40:] += 4
    assert [place for place, _ in change_points(values)] == [pytest.approx(40, abs=1)]
