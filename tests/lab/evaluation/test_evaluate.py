"""Evaluations of every system on real speech, and their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import SYSTEMS, Result, as_json
from ugsd_lab.evaluation.baselines import (
    BLOCKS,
    RECIPE,
    RECIPES,
    entropy_system,
    first_token,
    fixed_block,
    paper_recipe,
)
from ugsd_lab.evaluation.matching import random_system
from ugsd_lab.evaluation.printing import as_markdown, print_result, ranking
from ugsd_lab.evaluation.systems import System
from ugsd_sdk.settings.verification import BlockUnit

from tests.lab.evaluation.runs import SCORED, after_enrolment, few_clips, run

MATCHED = ("random, rate per corpus", "fixed block, rate per corpus")
VERIFIER = "verifier on every token"
PROBE = "probe on the audio embedding"


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return few_clips()


@pytest.fixture(scope="module")
def result(clips: list[Clip], cache: Path) -> Result:
    """Every system, and a probe that is always right."""
    return run(clips, cache, probe={clip.id: clip.emotion or "" for clip in clips})


def test_every_system_captions_the_same_clips(result: Result) -> None:
    assert [row.system for row in result.rows] == [*SYSTEMS, PROBE] * 2
    assert {row.corpus: row.domain for row in result.rows} == {
        "emodb": "in-domain",
        "elsewhere": "unseen",
    }
    for corpus, speakers in (("emodb", 2), ("elsewhere", 1)):
        num_clips = {row.clips for row in result.rows if row.corpus == corpus}
        assert num_clips == {speakers * SCORED}, "clips of the enrolment do not count"


def test_numbers_of_a_row_are_within_their_ranges(result: Result) -> None:
    for row in result.rows:
        assert row.emotion_low <= row.emotion <= row.emotion_high
        if row.system == PROBE:
            assert row.emotion == 1
            assert np.isnan(row.bleu)
            continue
        least = -1e-9 if row.system == VERIFIER else 0  # a clause may be too short for BLEU
        texts = (row.bleu, row.chrf, row.rouge_l, row.meteor)
        assert all(least < value < 100 for value in texts)
        five = (row.emotion, row.pitch, row.loudness, row.pace, row.gender)
        assert row.attributes == pytest.approx(np.mean(five))
        assert np.isnan(row.p50_ms) or 0 < row.p50_ms <= row.p95_ms


def test_disclosure_depends_on_the_system(result: Result) -> None:
    rows = {row.system: row for row in result.rows if row.corpus == "emodb"}
    alone, everything = rows["drafter alone"], rows["escalate everything"]
    assert alone.bytes_sent == alone.disclosed == alone.frames == alone.disclosed_states == 0
    assert 0 < everything.escalation < 1, "measured clauses are never escalated"
    assert everything.escalation > rows["UGSD"].escalation
    assert 0 <= rows["UGSD"].disclosed < rows["always ask"].disclosed < 0.95
    assert rows["always ask"].disclosed_states > 0 == rows["tokens only"].disclosed_states
    assert rows["UGSD"].frames == rows["UGSD"].round_trips
    assert np.isnan(rows["majority caption"].disclosed)
    assert np.isnan(rows["verifier on every token"].bytes_sent)
    for system in MATCHED:
        assert rows[system].disclosed == pytest.approx(rows["UGSD"].disclosed, abs=0.25)


def test_latency_includes_the_audio_encoder(result: Result) -> None:
    rows = {row.system: row for row in result.rows if row.corpus == "emodb"}
    assert rows["drafter alone"].p50_ms > 10  # decoding alone takes less
    assert rows["escalate everything"].p50_ms > rows["drafter alone"].p50_ms


def test_differences_compare_ugsd_on_the_same_clips(result: Result) -> None:
    rows = {(row.corpus, row.system): row for row in result.rows}
    assert {d.against for d in result.differences} >= {"drafter alone", "paper's recipe", *MATCHED}
    for d in result.differences:
        ugsd, other = rows[d.corpus, "UGSD"], rows[d.corpus, d.against]
        assert d.emotion == pytest.approx(ugsd.emotion - other.emotion)
        assert d.low <= d.emotion <= d.high


def test_auroc_of_two_kinds_of_corpora_is_defined(result: Result) -> None:
    assert 0 <= result.auroc <= 1


def test_calibration_of_the_predictor_has_every_corpus(result: Result) -> None:
    assert [one.corpus for one in result.calibration] == ["emodb", "elsewhere"]
    for one in result.calibration:
        assert one.questions > 0
        assert 0 <= one.low <= one.high <= 1
        assert abs(one.predicted - one.rejected) <= one.error + 1e-9


def test_ugsd_asks_one_question_that_is_not_continued(result: Result) -> None:
    rows = {row.system: row for row in result.rows if row.corpus == "emodb"}
    assert rows["always ask"].round_trips == 1
    assert rows["UGSD"].round_trips < 1
    assert rows["always ask"].escalation < rows["escalate everything"].escalation


def test_baselines_send_blocks_of_tokens() -> None:
    systems = [
        entropy_system("entropy", 0.2), paper_recipe("paper", RECIPE), first_token("first"),
        fixed_block("block", 0, 1.0, 3), random_system("random", 0.5),
    ]  # fmt: skip
    assert {(system.block_unit, system.continuation) for system in systems} == {
        (BlockUnit.TOKENS, None)
    }
    assert System("UGSD", None).block_unit is BlockUnit.SLOT


def test_json_has_null_for_missing_values(result: Result) -> None:
    report = json.loads(json.dumps(as_json(result), allow_nan=False))
    assert set(report) == {
        "rows", "differences", "auroc", "sigma", "calibration", "signatures",
        "predictor_quality",
    }  # fmt: skip
    assert len(report["rows"]) == len(result.rows)
    rows = {row["system"]: row for row in report["rows"]}
    assert rows["majority caption"]["bytes_sent"] is None
    assert set(rows["UGSD"]["gap_emotion"]) >= {"closed", "low", "high", "gap"}
    assert set(report["signatures"]) == {"BLEU", "chrF", "ROUGE-L", "METEOR"}


def test_tables_have_every_system_and_explain_intervals(result: Result) -> None:
    console = Console(record=True, width=150, file=StringIO())
    print_result(result, console, split="test", limit=3)
    text = console.export_text()
    for words in (
        *SYSTEMS, PROBE, "emodb (in-domain)", "elsewhere (unseen)", "at most 3 clips",
        "UGSD minus", "AUROC", "ECE", "exact and stem matches", "range between these speakers",
    ):  # fmt: skip
        assert words in text


def test_markdown_has_the_same_numbers(result: Result) -> None:
    text = as_markdown(result, split="test")
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4  # one per corpus, the differences, the rejection predictor
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}
    drafter = next(line for line in tables[0] if line.startswith("| drafter alone"))
    row = next(row for row in result.rows if row.system == "drafter alone")
    assert f"| {row.bleu:.1f} |" in drafter
    assert "References are generated." in text


def test_unlabelled_clips_are_skipped_and_counted(clips: list[Clip], cache: Path) -> None:
    unlabelled = [replace(clip, emotion=None) for clip in clips if clip.corpus == "elsewhere"]
    result = run([*clips, *(replace(c, corpus="secap") for c in unlabelled)], cache, systems=[])
    assert {row.corpus for row in result.rows} == {"emodb", "elsewhere"}
    assert result.unlabelled == {"secap": len(unlabelled)}
    with pytest.raises(EvaluationError, match="label"):
        run(unlabelled, cache)


def test_only_selected_systems_and_their_references_run(clips: list[Clip], cache: Path) -> None:
    few = run(clips, cache, systems=["tokens only"], limit=1)
    expected = ["drafter alone", "UGSD", "tokens only", "verifier on every token"]
    assert [row.system for row in few.rows] == expected * 2
    assert {row.clips for row in few.rows} == {1, 2}  # one clip of each speaker
    assert not few.curves


def test_tuning_compares_the_candidates(clips: list[Clip], cache: Path) -> None:
    result = run(clips, cache, tune=True, limit=1, systems=[])
    systems = {row.system for row in result.rows}
    assert {f"paper's recipe ({name})" for name in RECIPES} < systems
    assert {f"fixed block ({block})" for block in BLOCKS} < systems
    assert len(ranking(result).splitlines()) == len(RECIPES) + len(BLOCKS)
    assert RECIPE in RECIPES


def test_impossible_evaluations_are_errors(clips: list[Clip], cache: Path) -> None:
    with pytest.raises(EvaluationError, match="there are: majority caption"):
        run(clips, cache, systems=["UGSD 2"])
    with pytest.raises(EvaluationError, match="another --split"):
        run(clips, cache, split="calibration")
    with pytest.raises(EvaluationError, match="probe every clip"):
        run(clips, cache, systems=["UGSD"], limit=1, probe={})


def test_bundled_drafter_beats_the_most_frequent_emotion(cache: Path) -> None:
    test = [clip for clip in load_corpora(None) if clip.split == "test"][::5]
    rows = {row.system: row for row in run(test, cache, systems=["drafter alone"]).rows}
    emotions = [clip.emotion for clip in after_enrolment(test)]
    majority = max(emotions.count(emotion) for emotion in set(emotions)) / len(emotions)
    assert rows["drafter alone"].emotion > majority + 0.25
