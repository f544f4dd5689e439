"""Visits of people who are not named are captioned and attacked as each choice sends them."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from ugsd_lab.attacks.findings import Finding
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.visitors import attack_visits, attacks_table
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.bench.visitors import PlaceRow, caption_visits, captions_table
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import pair_of
from ugsd_lab.training.visits import CHOICES, VISIT_CLIPS, profiles_in_visits, visits_of
from ugsd_sdk.settings.config import Settings

NOTHING_SENT = {choice.name for choice in CHOICES if choice.never_sends}


def some_clips(per_speaker: int) -> list[Clip]:
    """Return some clips of each speaker of EMO-DB, which is bundled."""
    clips = sorted(load_corpora(None), key=lambda clip: (clip.speaker, clip.id))
    grouped = groupby(clips, key=lambda clip: clip.speaker)
    return [clip for _, own in grouped for clip in list(own)[::3][:per_speaker]]


@pytest.fixture(scope="module")
def captioned() -> list[PlaceRow]:
    return caption_visits(some_clips(9), pair_of("starter"), lambda *_: None, visits=2)


@pytest.fixture(scope="module")
def attacked() -> dict[str, list[Finding]]:
    return attack_visits(
        some_clips(9), pair_of("starter"), lambda *_: None, effort=TrainingBudget(steps=5)
    )


def test_each_choice_delays_the_first_state(captioned: list[PlaceRow]) -> None:
    sent = {row.choice: row.sent for row in captioned}
    assert set(sent) == {choice.name for choice in CHOICES}
    for choice in CHOICES:
        earliest = VISIT_CLIPS if choice.never_sends else choice.least_clips
        assert not any(sent[choice.name][: min(earliest, 4)])


def test_choices_differ_only_from_the_first_state_on(captioned: list[PlaceRow]) -> None:
    emotion = {row.choice: row.emotion for row in captioned}
    apart = emotion["no profile (default)"]
    for name in ("profile of the visit, nothing sent", "profile of the visit, defaults"):
        assert emotion[name][0] == apart[0]


def test_what_sends_nothing_is_not_attacked(attacked: dict[str, list[Finding]]) -> None:
    assert len(NOTHING_SENT) == 2
    assert set(attacked) == {choice.name for choice in CHOICES} - NOTHING_SENT
    measures = {one.measure for some in attacked.values() for one in some}
    assert measures == {"identification", "EER"}
    assert {one.speakers for some in attacked.values() for one in some} == {2}


def test_tables_have_every_choice(
    captioned: list[PlaceRow], attacked: dict[str, list[Finding]]
) -> None:
    rows = captions_table(captioned).rows
    assert [row[:2] for row in rows] == [("emodb", choice.name) for choice in CHOICES]
    assert {row[0] for row in attacks_table(attacked).rows} == set(attacked)
    assert {row.visits for row in captioned} == {4}


def test_last_choice_is_that_of_the_settings() -> None:
    defaults, settings = CHOICES[-1].enrolment, Settings()
    assert (defaults.min_clips, defaults.min_duration_s) == (
        settings.min_enrolment,
        settings.min_enrolment_s,
    )


def test_visits_begin_with_nothing_known() -> None:
    voices = Voices(some_clips(12))
    profiles = profiles_in_visits(voices.speaker, np.eye(len(voices), 5, dtype=np.float32))
    for speaker in set(voices.speaker.tolist()):
        counts = sorted(profiles[row].count for row in np.flatnonzero(voices.speaker == speaker))
        assert counts == sorted([*range(VISIT_CLIPS), *range(len(counts) - VISIT_CLIPS)])


def test_visit_has_no_clip_twice() -> None:
    for visit in visits_of(range(20), 50, np.random.default_rng(1)):
        assert len(set(visit)) == len(visit) == VISIT_CLIPS


def test_without_test_speakers_there_is_nothing_to_measure() -> None:
    clips = [clip for clip in some_clips(2) if clip.split != "test"]
    with pytest.raises(EvaluationError, match="name their folder with --data"):
        caption_visits(clips, pair_of("starter"), lambda *_: None, visits=1)
