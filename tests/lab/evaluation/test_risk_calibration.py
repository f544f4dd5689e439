"""``ugsd-lab calibrate-risk`` on the bundled speech."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import Pair
from ugsd_lab.evaluation.risk_calibration import (
    CLIPS,
    DELTA,
    TARGETS,
    THRESHOLDS,
    _Emotions,
    _gaps,
    _Run,
    kept_rejected,
    measure,
    write_risk_calibration,
)
from ugsd_lab.evaluation.risk_control import upper_bound
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System, SystemOutput
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import AlwaysEscalate, Policy, UncertaintyPolicy
from ugsd_sdk.decoding.risk_calibration import RiskCalibration
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings

LIMIT = 8


def quiet(*_: object) -> None:
    return


@dataclass(frozen=True)
class Runs:
    harness: EvaluationHarness
    clips: Sequence[Clip]
    run: Callable[[Policy | None], list[SystemOutput]]
    never: list[SystemOutput]
    always: list[SystemOutput]


@pytest.fixture(scope="module")
def measured() -> RiskCalibration:
    return measure(
        load_corpora(None),
        Pair(STARTER_DRAFTER),
        command="ugsd-lab calibrate-risk",
        progress=quiet,
        limit=LIMIT,
    )


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_loss_is_a_kept_draft_that_would_be_rejected(
    rows: list[tuple[float, bool]], one: float, other: float
) -> None:
    uncertainty = np.array([row[0] for row in rows])
    rejected = np.array([row[1] for row in rows])
    low, high = sorted((one, other))
    losses = [kept_rejected(uncertainty, rejected, at) for at in (low, high)]
    assert losses[0].tolist() == [u < low and r for u, r in rows]
    assert (losses[0] <= losses[1]).all(), "a higher threshold only adds losses"
    assert not kept_rejected(uncertainty, rejected, 0.0).any()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Dev clips by the whole system at thresholds, with their outcome when always or never
    asked."""
    harness = EvaluationHarness(Pair(STARTER_DRAFTER), tmp_path_factory.mktemp("runs"))
    clips = limited([clip for clip in load_corpora(None) if clip.split == "dev"], 10)
    stage = Stage(quiet, "captioning", 100)
    scored = harness.drafter.encode_clips(clips, stage)

    def run(policy: Policy | None) -> list[SystemOutput]:
        outputs = harness.run(
            System("any", None if policy is None else lambda: policy), scored, stage
        )
        return [outputs[clip.id] for clip in scored]

    return Runs(harness, scored, run, run(None), run(AlwaysEscalate()))


def test_verdict_is_that_of_the_whole_system(runs: Runs) -> None:
    rejected = [
        runs.harness.is_rejected(clip, output.question)
        for clip, output in zip(runs.clips, runs.never, strict=True)
    ]
    corrected = [
        any(token.source is TokenSource.CORRECTED for token in output.caption.tokens)
        for output in runs.always
        if output.caption is not None
    ]
    assert rejected == corrected
    assert len(set(rejected)) == 2, "some are rejected, and some are not"


def test_two_runs_give_the_outcome_at_any_threshold(runs: Runs) -> None:
    for threshold in np.quantile([one.uncertainty for one in runs.never], [0, 0.3, 0.7, 1]):
        expected = [
            always if never.uncertainty >= threshold else never
            for never, always in zip(runs.never, runs.always, strict=True)
        ]
        found = runs.run(UncertaintyPolicy(float(threshold)))
        assert [one.text for one in found] == [one.text for one in expected]
        assert [one.caption.usage.num_blocks for one in found if one.caption] == [
            one.caption.usage.num_blocks for one in expected if one.caption
        ]


def test_asking_always_has_no_risk(measured: RiskCalibration) -> None:
    first, last = measured.settings[0], measured.settings[-1]
    assert (first.threshold, first.risk) == (0, 0)
    assert first.frames == pytest.approx(1)
    assert last.threshold == 1
    assert last.tokens_left == last.states_left == last.frames == last.bytes_sent == 0
    (pooled, in_domain) = measured.gaps
    assert last.emotion == pooled.alone == in_domain.alone


def test_bounds_and_costs_are_monotone(measured: RiskCalibration) -> None:
    assert measured.captions == LIMIT
    assert [one.threshold for one in measured.settings] == list(THRESHOLDS)
    assert {one.disclosure for one in measured.settings} == {Disclosure.SUMMARY}
    for name, sign in (("risk", 1), ("risk_bound", 1), ("frames", -1), ("bytes_sent", -1)):
        values = [sign * getattr(one, name) for one in measured.settings]
        assert values == sorted(values)
    for one in measured.settings:
        losses = round(one.risk * LIMIT)
        assert one.risk_bound == pytest.approx(upper_bound(losses, LIMIT, DELTA))


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
    nothing = [SystemOutput("")] * len(clips)
    wrong, right = [0.0] * len(clips), [1.0] * len(clips)
    run = _Run(
        clips,
        never=nothing,
        always=nothing,
        is_rejected=[False] * len(clips),
        emotions=_Emotions(wrong, wrong, right),
    )
    in_domain = _gaps(run, Pair(STARTER_DRAFTER))
    assert [gap.where for gap in in_domain] == ["pooled", "home"]
    assert in_domain[0].low is not None
    assert in_domain[0].low > 0
    assert [gap.where for gap in _gaps(run, Pair(STARTER_DRAFTER, in_domain=()))] == [
        "pooled",
        "away",
    ]


def test_figures_are_written_beside_the_drafter(measured: RiskCalibration, tmp_path: Path) -> None:
    shutil.copytree(Path(ugsd_sdk.__file__).parent / "audio_encoder", tmp_path / "audio_encoder")
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
    assert [one.threshold for one in found.settings] == list(THRESHOLDS)
    assert json.loads(found.model_dump_json())["delta"] == DELTA
    assert {one.on for one in found.checks} == {"dev speakers", "emodb", "ravdess", "nemo"}
