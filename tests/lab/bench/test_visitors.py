"""Visits of people who are not named are captioned and attacked as each choice sends them."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from ugsd_lab.attacks.learning import TrainingBudget
from ugsd_lab.attacks.visits import CHOICES, VISIT_CLIPS, profiles_in_visits, visits_of
from ugsd_lab.attacks.voices import Voices
from ugsd_lab.bench.visitors import VisitorBench, bench_visitors, notes, tables
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import pair_of
from ugsd_sdk.settings.config import Settings

NOTHING_SENT = {choice.name for choice in CHOICES if choice.never_sends}


def some_clips(per_speaker: int) -> list[Clip]:
    """Return some clips of each speaker of EMO-DB, which is bundled."""
    clips = sorted(load_corpora(None), key=lambda clip: (clip.speaker, clip.id))
    grouped = groupby(clips, key=lambda clip: clip.speaker)
    return [clip for _, own in grouped for clip in list(own)[::3][:per_speaker]]


@pytest.fixture(scope="module")
def found() -> VisitorBench:
    return bench_visitors(
        some_clips(9), pair_of("starter"), lambda *_: None, visits=2, effort=TrainingBudget(steps=5)
    )


def test_no_state_is_sent_before_the_choice_allows_it(found: VisitorBench) -> None:
    sent = {row.choice: row.sent for row in found.rows}
    assert set(sent) == {choice.name for choice in CHOICES}
    for choice in CHOICES:
        earliest = VISIT_CLIPS if choice.never_sends else choice.least_clips
        assert not any(sent[choice.name][: min(earliest, 4)])


def test_choices_differ_only_from_the_first_state_on(found: VisitorBench) -> None:
    emotion = {row.choice: row.emotion for row in found.rows}
    apart = emotion["no profile (default)"]
    for name in ("profile of the visit, nothing sent", "profile of the visit, defaults"):
        assert emotion[name][0] == apart[0]


def test_what_sends_nothing_is_not_attacked(found: VisitorBench) -> None:
    assert len(NOTHING_SENT) == 2
    assert set(found.findings) == {choice.name for choice in CHOICES} - NOTHING_SENT
    measures = {one.measure for some in found.findings.values() for one in some}
    assert measures == {"identification", "EER"}
    assert {one.speakers for some in found.findings.values() for one in some} == {2}


def test_tables_have_every_choice(found: VisitorBench) -> None:
    captions, attacks = tables(found)
    assert {row[1] for row in captions.rows} == {choice.name for choice in CHOICES}
    assert {row[0] for row in attacks.rows} == set(found.findings)
    assert "emodb 4" in notes(found)[0]
    assert len(found.as_dict()["captions"]) == len(CHOICES)


def test_last_choice_is_that_of_the_settings() -> None:
    defaults, settings = CHOICES[-1].enrolment, Settings()
    assert (defaults.min_clips, defaults.min_duration_s) == (
        settings.min_enrolment,
        settings.min_enrolment_s,
    )


def test_visits_begin_with_nothing_known() -> None:
    voices = Voices(some_clips(12))
    profiles = profiles_in_visits(voices, np.eye(len(voices), 5, dtype=np.float32))
    for speaker in set(voices.speaker.tolist()):
        counts = sorted(profiles[row].count for row in np.flatnonzero(voices.speaker == speaker))
        assert counts == sorted([*range(VISIT_CLIPS), *range(len(counts) - VISIT_CLIPS)])


def test_visit_has_no_clip_twice() -> None:
    for visit in visits_of(range(20), 50, np.random.default_rng(1)):
        assert len(set(visit)) == len(visit) == VISIT_CLIPS


def test_without_test_speakers_there_is_nothing_to_measure() -> None:
    clips = [clip for clip in some_clips(2) if clip.split != "test"]
    with pytest.raises(EvaluationError, match="name their folder with --data"):
        bench_visitors(clips, pair_of("starter"), lambda *_: None, visits=1)
