"""``ugsd-lab calibrate-risk`` on the bundled speech."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import Pair
from ugsd_lab.evaluation.risk_calibration import (
    CLIPS,
    DELTA,
    TARGETS,
    THRESHOLDS,
    _gaps,
    _Run,
    block_loss,
    measure,
    write_risk_calibration,
)
from ugsd_lab.evaluation.risk_control import upper_bound
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import AlwaysEscalate, NeverEscalate, UncertaintyPolicy
from ugsd_sdk.decoding.risk_calibration import CalibratedSetting, RiskCalibration
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings

FEW = (0.0, 0.16, 1.0)
LIMIT = 8


def quiet(*_: object) -> None:
    return


@pytest.fixture(scope="module")
def measured() -> RiskCalibration:
    return measure(
        load_corpora(None),
        Pair(STARTER_DRAFTER),
        command="ugsd-lab calibrate-risk",
        progress=quiet,
        limit=LIMIT,
        thresholds=FEW,
    )


def at(found: RiskCalibration, disclosure: Disclosure, threshold: float) -> CalibratedSetting:
    (one,) = [s for s in found.settings if s.disclosure is disclosure and s.threshold == threshold]
    return one


def test_block_loss_counts_blocks_with_rejected_drafted_tokens() -> None:
    tokens = list(range(100, 112))  # three blocks: of five, five and two
    drafted = dict(enumerate(tokens))
    rejected = np.zeros(12, dtype=bool)
    assert block_loss(tokens, drafted, rejected) == 0
    rejected[[1, 3]] = True
    assert block_loss(tokens, drafted, rejected) == pytest.approx(1 / 3)
    rejected[11] = True
    assert block_loss(tokens, drafted, rejected) == pytest.approx(2 / 3)
    drafted[11] = 7  # the verifier replaced it
    assert block_loss(tokens, drafted, rejected) == pytest.approx(1 / 3)
    del drafted[1], drafted[3]  # the verifier wrote these tokens
    assert block_loss(tokens, drafted, rejected) == 0


def test_rejections_are_computed_for_the_final_caption(tmp_path: Path) -> None:
    harness = EvaluationHarness(Pair(STARTER_DRAFTER), tmp_path)
    clips = limited([clip for clip in load_corpora(None) if clip.split == "dev"], 4)
    stage = Stage(quiet, "captioning", 100)
    scored = harness.drafter.encode_clips(clips, stage)
    for policy in (AlwaysEscalate(Disclosure.TOKENS), UncertaintyPolicy(0.15), NeverEscalate()):
        outputs = harness.run(System("any", lambda policy=policy: policy), scored, stage)  # type: ignore[misc]
        for clip in scored:
            one = outputs[clip.id]
            assert one.tokens[-1] == harness.drafter.info.eos
            assert harness.drafter.worded(clip, one.tokens) == one.text
            assert harness.rejected(clip, one.tokens).shape == (len(one.tokens),)


def test_summary_with_every_caption_has_no_risk(measured: RiskCalibration) -> None:
    assert at(measured, Disclosure.SUMMARY, 0).risk == 0
    assert at(measured, Disclosure.SUMMARY, 0).frames == pytest.approx(1)
    assert at(measured, Disclosure.TOKENS, 0).risk > 0, (
        "without a state the verifier rejects nothing"
    )


def test_last_threshold_equals_the_drafter_alone(
    measured: RiskCalibration,
) -> None:
    alone = {
        one.model_copy(update={"disclosure": Disclosure.TOKENS, "risk_bound": 0.0})
        for one in measured.settings
        if one.threshold == 1
    }
    (one,) = alone
    assert one.tokens_left == one.states_left == one.frames == one.bytes_sent == 0
    (pooled, home) = measured.gaps
    assert one.emotion == pooled.alone == home.alone


def test_higher_disclosure_sends_more_states(measured: RiskCalibration) -> None:
    tokens, summary, block, every = (at(measured, one, 0.16) for one in Disclosure)
    assert tokens.states_left == 0 < summary.states_left <= block.states_left <= every.states_left
    assert all(0 < one.tokens_left < 1 for one in (tokens, summary, block, every))


def test_bounds_hold_jointly_and_grow_with_the_threshold(
    measured: RiskCalibration,
) -> None:
    assert measured.captions == LIMIT
    for disclosure in Disclosure:
        bounds = [at(measured, disclosure, threshold).risk_bound for threshold in FEW]
        assert bounds == sorted(bounds)
    first = at(measured, Disclosure.TOKENS, 0)
    assert first.risk_bound == pytest.approx(upper_bound(first.risk, LIMIT, DELTA / 4))


def test_one_speaker_gives_no_gain(measured: RiskCalibration) -> None:
    assert measured.speakers == 1
    assert all(one.gain is one.gain_low is one.gain_high is None for one in measured.settings)
    assert all(gap.low is None or gap.low <= 0 for gap in measured.gaps)
    with pytest.raises(ConfigError, match="does not show that the verifier is better"):
        RiskControlledPolicy(measured, target_gain=0.1)


def test_chosen_settings_are_checked_on_dev_speakers(measured: RiskCalibration) -> None:
    assert [one.target for one in measured.checks] == list(TARGETS)
    assert {one.on for one in measured.checks} == {"dev speakers"}
    assert {one.captions for one in measured.checks} == {LIMIT // 2}


def test_gaps_in_and_out_of_domain_are_separate() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "train"][::40]
    run = _Run(clips)
    run.alone, run.verifier = [0.0] * len(clips), [1.0] * len(clips)
    at_home = _gaps(run, Pair(STARTER_DRAFTER))
    assert [gap.where for gap in at_home] == ["pooled", "home"]
    assert at_home[0].low is not None
    assert at_home[0].low > 0
    assert [gap.where for gap in _gaps(run, Pair(STARTER_DRAFTER, in_domain=()))] == [
        "pooled",
        "away",
    ]


def test_figures_are_written_beside_the_drafter(measured: RiskCalibration, tmp_path: Path) -> None:
    shutil.copytree(Path(ugsd_sdk.__file__).parent / "ears", tmp_path / "ears")
    folder = tmp_path / "drafter"
    shutil.copytree(STARTER_DRAFTER, folder, ignore=shutil.ignore_patterns("clips"))
    write_risk_calibration(measured, folder)
    assert RiskCalibration.load(folder) == measured
    easy = Settings(target_risk=0.99)
    minimum = RiskControlledPolicy.from_settings(easy, folder)
    assert minimum is not None
    assert minimum.chosen.tokens_left == 0


def test_missing_calibration_speakers_are_an_error() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "test"]
    with pytest.raises(EvaluationError, match="no clips of calibration speakers"):
        measure(clips, Pair(STARTER_DRAFTER), command="", progress=quiet)


def test_command_runs_on_the_bundled_speech(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate-risk", "--drafter", "free", "--limit", "2", "--markdown"]) == 0
    out, err = capsys.readouterr()
    assert "2 captions of 1 calibration speakers" in out
    assert "too few speakers for an interval" in out
    assert "captioning, calibration" in err
    tables = [part.splitlines() for part in out.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}
    assert main(["calibrate-risk", "--json", "--markdown"]) == 1


def test_bundled_figures_come_from_the_command() -> None:
    found = RiskCalibration.load(STARTER_DRAFTER)
    assert found.command == f"ugsd-lab calibrate-risk --drafter starter --data DIR --limit {CLIPS}"
    assert {one.threshold for one in found.settings} == set(THRESHOLDS)
    assert len(found.settings) == len(THRESHOLDS) * len(Disclosure)
    assert json.loads(found.model_dump_json())["delta"] == DELTA
    assert {one.on for one in found.checks} == {"dev speakers", "emodb", "ravdess", "nemo"}
