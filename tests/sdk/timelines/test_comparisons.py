"""Differences from the start, and the words of summaries."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.timelines.arcs import arc_of
from ugsd_sdk.timelines.comparisons import from_start
from ugsd_sdk.timelines.measures import Series
from ugsd_sdk.timelines.parts import TimelineUtterance
from ugsd_sdk.timelines.summary import summary_of
from ugsd_sdk.timelines.turning_points import find_turning_points

from tests.doubles.timed_captions import speech_of, steady_speech


def speech(emotions: list[str], **changed: float) -> list[TimelineUtterance]:
    """Return utterances of which the second half has measures that are ``changed`` by so much."""
    rng, count = np.random.default_rng(2), len(emotions)
    late = np.arange(count) >= count // 2
    usual = {"pitch": (5.0, 0.7), "pace": (5.0, 0.3), "effort": (-9.0, 1.0)}
    return speech_of(
        emotions,
        **{
            name: (rng.normal(middle, sd, count) + late * changed.get(name, 0.0)).tolist()
            for name, (middle, sd) in usual.items()
        },
    )


def summary(timed: list[TimelineUtterance], *, is_one_speaker: bool = True) -> str:
    series = Series.of(timed, is_one_speaker=is_one_speaker)
    points, end = find_turning_points(series), from_start(series)
    return summary_of(timed, series, points, end, is_one_speaker=is_one_speaker)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"pitch": 5.0}, {"higher"}),
        ({"pitch": -5.0}, {"lower"}),
        ({"pace": 2.0}, {"faster"}),
        ({"pace": -2.0}, {"slower"}),
        ({"effort": 7.0}, {"louder"}),
        ({"effort": -7.0, "pace": -2.0}, {"quieter", "slower"}),
        ({}, set()),
    ],
)
def test_the_end_is_compared_with_the_start(changed: dict[str, float], expected: set[str]) -> None:
    found = from_start(Series.of(speech(["neutral"] * 30, **changed), is_one_speaker=True))
    assert {one.value for one in found} == expected
    assert expected <= {*SLOT_VALUES[Slot.PREVIOUS]}


def test_calmer_needs_a_voice_that_calms_too() -> None:
    emotions = ["angry"] * 15 + ["neutral"] * 15
    for pitch, expected in ((-5.0, True), (0.0, False), (5.0, False)):
        found = from_start(Series.of(speech(emotions, pitch=pitch), is_one_speaker=True))
        assert ("calmer" in {one.value for one in found}) is expected


def test_steady_speech_is_hardly_ever_compared() -> None:
    stated = [
        from_start(Series.of(steady_speech(40, seed), is_one_speaker=True)) for seed in range(100)
    ]
    assert sum(map(bool, stated)) <= 10


def test_speakers_together_are_not_compared() -> None:
    timed = speech(["angry"] * 15 + ["neutral"] * 15, pitch=-9.0, pace=-3.0)
    assert from_start(Series.of(timed, is_one_speaker=False)) == ()
    assert "voice" not in summary(timed, is_one_speaker=False)


def test_few_utterances_have_no_start() -> None:
    assert from_start(Series.of(speech(["neutral"] * 9, pitch=9.0), is_one_speaker=True)) == ()


def test_summaries_state_what_was_found() -> None:
    assert summary(speech(["neutral"] * 20)) == "The speaker sounds neutral throughout."
    turned = summary(speech(["neutral"] * 15 + ["angry"] * 15, pitch=6.0))
    assert "From 1:00 on, the speaker sounds angry instead of neutral" in turned
    assert turned.endswith("At the end, the speech is more agitated and higher than at the start.")
    assert "throughout" not in turned
    assert summary([]) == "No speech."


@pytest.mark.parametrize("seed", range(5))
def test_summaries_name_only_emotions_of_the_speech(seed: int) -> None:
    timed = steady_speech(25, seed)
    named = {one.caption.attributes.emotion.value for one in timed}
    absent = {*SLOT_VALUES[Slot.EMOTION]} - named
    assert not any(emotion in summary(timed) for emotion in absent)


def test_arcs_follow_changes_and_no_single_utterance() -> None:
    timed = speech(["neutral"] * 30 + ["angry"] * 30, pitch=6.0)
    outlier = speech(["neutral"] * 20 + ["angry"] + ["neutral"] * 39)
    arc = arc_of(Series.of(timed, is_one_speaker=True), 240)
    assert (arc[0].arousal or 0) < 0.1 < 0.9 < (arc[-1].arousal or 0)
    assert abs(arc[0].pitch or 0) < 1 < 5 < (arc[-1].pitch or 0)
    assert len(arc) <= 240
    flat = arc_of(Series.of(outlier, is_one_speaker=True), 240)
    assert max(point.arousal or 0 for point in flat) == 0


def test_arcs_have_no_points_in_long_silence() -> None:
    arc = arc_of(Series.of(speech(["neutral"] * 4), is_one_speaker=True), 600)
    assert max(point.at_s for point in arc) < 60
    assert arc[0].pitch is None
