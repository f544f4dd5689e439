"""What a caption depends on besides the voice is measured, and nothing is counted wrongly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ugsd_lab.bench.conditions import CONDITIONS, PLAIN, Condition, Goal
from ugsd_lab.bench.profiled_captioner import ProfiledCaptioner
from ugsd_lab.bench.robustness import (
    Robustness,
    RobustnessRow,
    bench_robustness,
    notes,
    tables,
)
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.errors import EvaluationError
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order, running_profiles
from ugsd_sdk import Captioner
from ugsd_sdk.caption import NO_SPEECH
from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.speech.reader import WholeRecording

from tests.lab.bench.spoken_drafter import SpokenDrafter

CLIPS = load_corpora(None)
LIMIT = 4


def of_name(name: str) -> Condition:
    (condition,) = (one for one in CONDITIONS if one.name == name)
    return condition


LONG = of_name("27 s of silence")
QUIET = of_name("gain 0.001")


def measured(drafter: SpokenDrafter, *conditions: Condition) -> Robustness:
    return bench_robustness(
        CLIPS, drafter, lambda *_: None, limit=LIMIT, conditions=(PLAIN, *conditions),
        detector=WholeRecording(),
    )  # fmt: skip


def row(found: Robustness, condition: Condition, *, profile: bool) -> RobustnessRow:
    (one,) = (
        one for one in found.rows if (one.condition, one.profile) == (condition.name, profile)
    )
    return one


def scored() -> list[Clip]:
    """Return the clips that a run with all clips of the test speakers would score."""
    test = [clip for clip in CLIPS if clip.split == "test"]
    order = [test[index] for index in in_recording_order(test)]
    profiles = running_profiles(order, np.zeros((len(order), 2), dtype=np.float32))
    return [
        clip
        for clip, profile in zip(order, profiles, strict=True)
        if profile.count >= MIN_ENROLMENT
    ]


def test_captions_that_follow_length_miss_the_goal() -> None:
    drafter = SpokenDrafter(
        lambda heard: f"A speaker sounds {'sad' if heard.duration_s > 20 else 'happy'}"
    )
    found = measured(drafter, LONG, QUIET)

    padded, quiet = row(found, LONG, profile=True), row(found, QUIET, profile=True)
    assert (padded.same_emotion, padded.is_met) == (0.0, False)
    assert (quiet.same_emotion, quiet.difference) == (1.0, 0.0)
    assert padded.difference == padded.emotion - quiet.emotion
    assert not found.gibberish


def test_only_clips_after_enrolment_are_scored() -> None:
    drafter = SpokenDrafter(lambda _: "A speaker sounds happy")
    found = bench_robustness(
        CLIPS, drafter, lambda *_: None, conditions=(PLAIN,), detector=WholeRecording()
    )

    expected = np.mean([clip.emotion == "happy" for clip in scored()])
    plain = row(found, PLAIN, profile=True)
    assert plain.clips == len(scored())
    assert plain.emotion == pytest.approx(expected)
    low, high = plain.emotion_interval
    assert low <= plain.emotion <= high


def test_profile_counts_in_one_caption_only() -> None:
    drafter = SpokenDrafter(
        lambda heard: (
            f"A speaker sounds {'happy' if heard.profile_clips >= MIN_ENROLMENT else 'sad'}"
        )
    )
    with ProfiledCaptioner(drafter, detector=WholeRecording()) as captioner:
        made = captioner.caption(
            np.ones(16_000, np.float32), SpeakerProfile(MIN_ENROLMENT, np.zeros(2, np.float32))
        )

    assert (made.enrolled.text, made.unenrolled.text) == (
        "A speaker sounds happy", "A speaker sounds sad",
    )  # fmt: skip
    assert drafter.encoded == 1
    assert made.voice is not None
    assert made.voice.embedding[0] == 1.0


def test_profiles_are_those_of_earlier_plain_clips() -> None:
    drafter = SpokenDrafter(lambda _: "A speaker sounds happy")
    measured(drafter, QUIET)

    given = [profile for profile in drafter.profiles if profile.count >= MIN_ENROLMENT]
    plain, quiet = given[::2], given[1::2]
    assert [one.count for one in plain] == list(range(MIN_ENROLMENT, MIN_ENROLMENT + LIMIT)) * 2
    for one, other in zip(plain, quiet, strict=True):
        assert one is other


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("A speaker sounds happy and sad", "names happy and sad"),
        ("A speaker sounds", "names no emotion"),
        ("A speaker sounds and happy sounds A and speaker happy A and A", "is cut at its limit"),
    ],
)
def test_every_kind_of_gibberish_is_counted(text: str, what: str) -> None:
    found = measured(SpokenDrafter(lambda _: text), QUIET)

    assert found.captions == len(found.gibberish) == 2 * 2 * 2 * LIMIT
    assert {one.what for one in found.gibberish} == {what}
    assert row(found, QUIET, profile=False).gibberish == 2 * LIMIT
    assert tables(found)[-1].rows[0][-1] == "missed"
    assert any(found.gibberish[0].text in line for line in notes(found))


def test_recording_without_speech_is_no_gibberish() -> None:
    with ProfiledCaptioner(SpokenDrafter(lambda _: "A speaker sounds happy")) as captioner:
        made = captioner.caption(np.zeros(16_000, np.float32), EMPTY_PROFILE)

    assert made.enrolled.text == made.unenrolled.text == NO_SPEECH
    assert made.voice is None


def test_captions_are_those_of_the_captioner() -> None:
    clip = next(clip for clip in CLIPS if clip.split == "test")
    bundle = DrafterBundle.of("starter")
    with ProfiledCaptioner(OnnxDrafter(bundle.folder)) as captioner:
        made = captioner.caption(read_samples(clip), EMPTY_PROFILE)
    with Captioner() as device:
        expected = device.caption(read_samples(clip), 16_000)

    assert made.enrolled.text == expected.text
    assert made.unenrolled.attributes.emotion == expected.attributes.emotion
    assert made.enrolled.speech == expected.speech


def test_clips_that_only_enrol_are_refused() -> None:
    few = [clip for clip in CLIPS if clip.split == "test"][:MIN_ENROLMENT]
    with pytest.raises(EvaluationError, match="add recordings"):
        bench_robustness(few, SpokenDrafter(lambda _: ""), lambda *_: None)


@pytest.mark.parametrize(
    ("goal", "difference", "same", "is_met"),
    [
        (Goal(0.03, 0.03, 0.95), -0.03, 0.95, True),
        (Goal(0.03, 0.03, 0.95), 0.04, 1.0, False),
        (Goal(0.03, 0.03, 0.95), 0.0, 0.94, False),
        (Goal(0.05), 0.2, 0.0, True),
        (Goal(0.05), -0.06, 1.0, False),
    ],
)
def test_goal_is_met_within_its_bounds(
    goal: Goal, difference: float, same: float, is_met: bool
) -> None:
    assert goal.is_met(difference, same) is is_met


@pytest.mark.slow
def test_command_prints_every_condition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "robustness", "--limit", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert [one["condition"] for one in found["rows"]] == 2 * [one.name for one in CONDITIONS]
    assert found["captions"] == 2 * 2 * len(CONDITIONS)
    assert all(one["clips"] == 2 for one in found["rows"])
