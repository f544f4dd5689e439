"""Curves of emotion accuracy, on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.evaluation import Pair, Result, as_json
from ugsd_lab.evaluation.curves import (
    Curve,
    Point,
    drafts_of,
    oracle_system,
    predictor_quality,
)
from ugsd_lab.evaluation.plots import draw_evaluation
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.settings.verification import BlockUnit

from tests.lab.evaluation.runs import few_clips, run


@pytest.fixture(scope="module")
def curved(cache: Path) -> Result:
    """Few systems and clips, and their curves."""
    own = [clip for clip in few_clips() if clip.corpus == "emodb"]
    return run(own, cache, systems=[], limit=2, curves=True)


def test_every_curve_starts_with_the_drafter_alone(curved: Result) -> None:
    (curves,) = curved.curves
    assert curves.alone.disclosed == curves.alone.escalated == 0
    assert 0 < curves.everything.escalated < 1, "measured clauses are never escalated"
    for curve in curves.curves:
        assert curve.points[0] == curves.alone
        for point in curve.points:
            assert 0 <= point.escalated <= curves.everything.escalated
            assert 0 <= point.disclosed <= 1


def test_auroc_needs_corpora_of_two_kinds(curved: Result) -> None:
    assert np.isnan(curved.auroc)


def test_real_run_is_drawn(curved: Result, tmp_path: Path) -> None:
    draw_evaluation(tmp_path / "a.png", curved.curves, curved.confusions)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert set(as_json(curved)["predictor_quality"]) == {"emodb"}  # type: ignore[call-overload]
    assert [*curved.confusions["emodb"]] == ["drafter alone", "UGSD", "verifier on every token"]


def test_oracle_escalates_once_and_only_rejected_blocks(tmp_path: Path) -> None:
    clips = few_clips()
    harness = EvaluationHarness(Pair(STARTER_DRAFTER), tmp_path)
    stage = Stage(lambda *_: None, "captioning", 3 * len(clips))
    scored = harness.drafter.encode_clips([clip for clip in clips if clip.split == "test"], stage)
    drafts = drafts_of(harness, scored, harness.rejection_predictor, BlockUnit.SLOT, stage)
    outputs = harness.run(oracle_system(harness, scored, drafts), scored, stage)
    captions = [output.caption for output in outputs.values()]
    sources = [{token.source for token in caption.tokens} for caption in captions if caption]
    escalated = [caption.usage.num_blocks for caption in captions if caption]
    assert set(escalated) <= {0, 1}
    assert sum(escalated) == sum(TokenSource.CORRECTED in found for found in sources) > 0


def test_predictor_quality_is_relative_to_chance_and_oracle() -> None:
    alone = Point(0, 0, 0.2)
    best = Curve("oracle", (alone, Point(0.5, 0.2, 0.6)))
    random = Curve("random", (alone, Point(0.3, 1, 0.6)))
    bad = Curve("bad", (alone, Point(0.8, 1, 0.2)))
    assert predictor_quality(predictor=best, random=random, oracle=best) == pytest.approx(1)
    assert predictor_quality(predictor=random, random=random, oracle=best) == pytest.approx(0)
    assert predictor_quality(predictor=bad, random=random, oracle=best) < 0
    assert np.isnan(predictor_quality(predictor=best, random=random, oracle=random))
    assert np.isnan(predictor_quality(predictor=best, random=random, oracle=best, least=0.5))
