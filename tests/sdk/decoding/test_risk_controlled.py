"""The risk-controlled policy sends no more than its target needs, and checks its table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.policy import BlockView, BudgetView, EnrolmentGuard, UncertaintyPolicy
from ugsd_sdk.decoding.risk_calibration import (
    RISK_CALIBRATION_FILE,
    CalibratedSetting,
    RiskCalibration,
    weight_hashes,
)
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy, cheapest_setting
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.reports.explanation import explain
from ugsd_sdk.settings.config import Settings

STARTER = Path(ugsd_sdk.__file__).parent / "starter"
New = Callable[..., Captioner]


def setting(
    threshold: float,
    bound: float,
    gain_low: float | None = None,
    *,
    tokens_left: float = 0.5,
    states_left: float = 0.0,
) -> CalibratedSetting:
    return CalibratedSetting(
        disclosure=Disclosure.SUMMARY, threshold=threshold, risk=0, risk_bound=bound,
        gain=gain_low, gain_low=gain_low, gain_high=gain_low, emotion=0.5, tokens_left=tokens_left,
        states_left=states_left, frames=1, bytes_sent=100,
    )  # fmt: skip


def table_of(
    *settings: CalibratedSetting, parts: dict[str, str] | None = None, **changes: object
) -> RiskCalibration:
    fields: dict[str, object] = {
        "format": 2, "command": "ugsd-lab calibrate-risk", "weights": parts or {},
        "verifier": "0" * 64, "slot": "emotion", "delta": 0.1, "captions": 300, "speakers": 4,
        "settings": settings, "gaps": (), "checks": (),
    }  # fmt: skip
    return RiskCalibration(**(fields | changes))


MEASURED = table_of(
    setting(0.0, 0.02, 0.8, tokens_left=0.2, states_left=0.05),
    setting(0.2, 0.15, 0.5, tokens_left=0.1, states_left=0.03),
    setting(1.0, 0.4, -0.1, tokens_left=0.0),
)

shares = st.floats(0, 1)
tables = st.lists(
    st.builds(
        setting,
        shares,
        shares,
        st.none() | st.floats(-1, 1),
        tokens_left=shares,
        states_left=shares,
    ),
    min_size=1,
    max_size=20,
)


def price(one: CalibratedSetting) -> tuple[float, float]:
    return one.states_left, one.tokens_left


@given(tables, shares)
def test_chosen_setting_is_cheapest_for_target_risk(
    table: list[CalibratedSetting], target: float
) -> None:
    chosen = cheapest_setting(table, target)
    if chosen is None:
        assert all(one.risk_bound > target for one in table)
        return
    assert chosen.risk_bound <= target
    assert not [one for one in table if price(one) < price(chosen) and one.risk_bound <= target]


@given(tables, st.floats(-1, 1))
def test_chosen_setting_is_cheapest_for_target_gain(
    table: list[CalibratedSetting], target: float
) -> None:
    def reaches(one: CalibratedSetting) -> bool:
        return one.gain_low is not None and one.gain_low >= target

    chosen = cheapest_setting(table, None, target)
    if chosen is None:
        assert not any(map(reaches, table))
        return
    assert reaches(chosen)
    assert not [one for one in table if price(one) < price(chosen) and reaches(one)]


@given(tables, shares, shares)
def test_easier_target_never_discloses_more(
    table: list[CalibratedSetting], one: float, other: float
) -> None:
    strict, lax = sorted((one, other))
    for chosen, easier in (
        (cheapest_setting(table, strict), cheapest_setting(table, lax)),
        (cheapest_setting(table, None, lax), cheapest_setting(table, None, strict)),
    ):
        if chosen is not None:
            assert easier is not None
            assert price(easier) <= price(chosen)


@pytest.mark.parametrize(("target", "expected"), [(0.5, 1.0), (0.2, 0.2), (0.05, 0.0)])
def test_each_risk_has_its_threshold(target: float, expected: float) -> None:
    chosen = RiskControlledPolicy(MEASURED, target_risk=target).chosen
    assert (chosen.disclosure, chosen.threshold) == (Disclosure.SUMMARY, expected)


def test_sent_states_weigh_more_than_tokens() -> None:
    """Otherwise every caption would send a state to avoid sending some words."""
    always = setting(0.0, 0.02, tokens_left=0.05, states_left=0.05)
    if_uncertain = setting(0.16, 0.08, tokens_left=0.09, states_left=0.03)
    assert cheapest_setting([always, if_uncertain], 0.1) == if_uncertain
    assert cheapest_setting([always, if_uncertain], 0.05) == always


def test_risk_controlled_policy_decides_like_uncertainty_policy() -> None:
    policy = RiskControlledPolicy(MEASURED, target_risk=0.2)
    for uncertainties in ((0.1, 0.19), (0.1, 0.2), (0.5, 0.1)):
        block = BlockView(0, (1, 2), uncertainties, verifier_has_summary=False)
        expected = UncertaintyPolicy(0.2, Disclosure.SUMMARY)(block, BudgetView())
        assert policy(block, BudgetView()) == expected


def test_unreachable_target_names_reachable_ones() -> None:
    with pytest.raises(ConfigError, match=r"target_risk = 0.01 .* target_risk >= 0.020"):
        RiskControlledPolicy(MEASURED, target_risk=0.01)
    with pytest.raises(ConfigError, match=r"target_gain = 0.95 .* target_gain <= 0.80"):
        RiskControlledPolicy(MEASURED, target_gain=0.95)
    unknown = table_of(setting(0.0, 0.02))
    with pytest.raises(ConfigError, match="does not show that the verifier is better"):
        RiskControlledPolicy(unknown, target_gain=0.1)


@pytest.mark.parametrize("targets", [{}, {"target_risk": 0.2, "target_gain": 0.2}])
def test_exactly_one_target_is_required(targets: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="not both"):
        RiskControlledPolicy(MEASURED, **targets)


# -- settings


@pytest.mark.parametrize(
    "given_",
    [
        {"target_risk": 0.1, "target_gain": 0.5},
        {"threshold": 0.2, "target_risk": 0.1},
        {"threshold": 0.2, "target_gain": 0.1},
    ],
)
def test_threshold_and_targets_exclude_each_other(given_: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="only one of threshold, min_gain, target_risk"):
        Settings(**given_)


@pytest.mark.parametrize("value", [0, 1, -0.1, float("nan"), "much"])
def test_target_risk_is_between_0_and_1(value: object) -> None:
    with pytest.raises(ConfigError, match="target_risk"):
        Settings(target_risk=value)


def test_target_is_read_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_TARGET_GAIN", "0.5")
    assert Settings.load().target_gain == 0.5
    with pytest.raises(ConfigError, match="only one of"):
        Settings.load(threshold=0.2)


# -- the file beside the drafter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The starter with an invented risk calibration table."""
    shutil.copytree(STARTER.parent / "audio_encoder", tmp_path / "audio_encoder")
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips"))
    made_up = MEASURED.model_copy(update={"weights": weight_hashes(copy)})
    (copy / RISK_CALIBRATION_FILE).write_text(made_up.model_dump_json())
    return copy


@pytest.mark.parametrize("most", ["summary", "block_states", "all_states"])
def test_choice_never_exceeds_configured_disclosure(folder: Path, most: str) -> None:
    settings = Settings(target_risk=0.05, disclosure=most)
    policy = RiskControlledPolicy.from_settings(settings, folder)
    assert policy is not None
    assert (policy.chosen.disclosure, policy.chosen.threshold) == (Disclosure.SUMMARY, 0.0)


def test_without_a_target_there_is_no_policy(folder: Path) -> None:
    assert RiskControlledPolicy.from_settings(Settings(threshold=0.1), folder) is None


def test_calibration_of_other_weights_or_predictor_is_refused(folder: Path) -> None:
    settings = Settings(target_risk=0.2)
    predictor = json.loads((folder / "gate.json").read_text())
    (folder / "gate.json").write_text(json.dumps(predictor | {"bias": 0.0}))
    with pytest.raises(ConfigError, match="another rejection predictor"):
        RiskControlledPolicy.from_settings(settings, folder)
    (folder / "gate.json").write_bytes((STARTER / "gate.json").read_bytes())
    assert RiskControlledPolicy.from_settings(settings, folder) is not None
    with (folder / "reader.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigError, match="other weights"):
        RiskControlledPolicy.from_settings(settings, folder)


@pytest.mark.parametrize("damage", [None, "", "{}", '{"format": 1}', "\N{BELL}"])
def test_target_without_calibration_table_is_refused(folder: Path, damage: str | None) -> None:
    path = folder / RISK_CALIBRATION_FILE
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(ConfigError, match="no usable risk calibration table"):
        Captioner(folder, config=Settings(target_risk=0.2)).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"disclosure": "tokens"}, "only with states"),
        ({"block_unit": "tokens"}, "only for the question about the emotion"),
        ({"continuation": "clause"}, "does not go on"),
        ({"traffic_shape": "constant"}, "constant shape"),
        ({"noise": {"sigma": 2.0}}, "without noise"),
    ],
)
def test_target_with_unmeasured_settings_is_refused(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RiskControlledPolicy.from_settings(Settings(target_risk=0.2, **changes), folder)


def test_calibration_of_another_slot_or_format_is_refused(folder: Path) -> None:
    path = folder / RISK_CALIBRATION_FILE
    right = json.loads(path.read_text())
    for change in ({"format": 1}, {"slot": "pitch"}, {"block_tokens": 5}):
        path.write_text(json.dumps(right | change))
        with pytest.raises(ConfigError, match="no usable risk calibration table"):
            RiskControlledPolicy.from_settings(Settings(target_risk=0.2), folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": 0.5, "risk_bound": 0.4}, "risk is above its bound"),
        ({"threshold": 1.5}, "threshold"),
        ({"disclosure": "tokens"}, "summary, not tokens"),
    ],
)
def test_edited_settings_of_a_table_are_refused(
    folder: Path, change: dict[str, object], message: str
) -> None:
    path = folder / RISK_CALIBRATION_FILE
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"settings": [table["settings"][0] | change]}))
    with pytest.raises(ConfigError, match=f"no usable risk calibration table .*{message}"):
        RiskCalibration.load(folder)


def test_table_of_another_format_names_it(folder: Path) -> None:
    path = folder / RISK_CALIBRATION_FILE
    old = {"format": 1, "command": "ugsd-lab calibrate-risk", "block_tokens": 5}
    path.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match="the table has format 1, and this release reads 2"):
        RiskCalibration.load(folder)


@pytest.mark.parametrize("name", ["slots.json", "vocabulary.json"])
def test_calibration_with_other_words_or_slots_is_refused(folder: Path, name: str) -> None:
    with (folder / name).open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match="other weights, words, slots"):
        RiskCalibration.load(folder)


def test_target_needs_its_measured_rejection_predictor(
    folder: Path, drafter: ScriptedDrafter
) -> None:
    settings = Settings(target_risk=0.2)
    with pytest.raises(ConfigError, match="a drafter from a folder"):
        Captioner(drafter, config=settings).load()
    with pytest.raises(ConfigError, match="its rejection predictor"):
        Captioner(folder, config=settings, uncertainty=EntropyUncertainty()).load()


# -- with a captioner


def test_captioner_sends_only_the_chosen_disclosure(
    new_captioner: New, fake: object, voice: NDArray[np.float32]
) -> None:
    sent = {}
    generous = Settings(limits={"blocks_per_caption": None, "frames_per_caption": None})
    for target in (0.5, 0.05):
        fake.blocks.clear()  # type: ignore[attr-defined]
        policy = RiskControlledPolicy(MEASURED, target_risk=target)
        with new_captioner(policy=policy, config=generous) as captioner:
            captioner.wait_until_connected()
            caption = captioner.caption(voice, 16_000)
            assert caption.unverified_reason is None
        sent[target] = [len(one.state_positions) for one in fake.blocks]  # type: ignore[attr-defined]
    assert sent[0.5] == []
    assert sent[0.05][0] == 1
    assert set(sent[0.05][1:]) == {0}


def test_settings_with_target_create_risk_controlled_policy(
    folder: Path, verifier_key: VerifierKey, tmp_path: Path, voice: NDArray[np.float32]
) -> None:
    from tests.doubles.device import FakeVerifier

    loaded = OnnxDrafter(folder)
    loaded.load()
    fake = FakeVerifier(verifier_key, loaded)  # type: ignore[arg-type]
    given_ = {"home": tmp_path / "home", "min_enrolment": 0, "disclosure": "summary"}
    for target, frames in ((0.5, 0), (0.05, 1)):
        settings = Settings(target_risk=target, **given_)
        with Captioner(
            folder, verifier=fake.transport, verifier_key=verifier_key.public.to_text(),
            config=settings,
        ) as captioner:  # fmt: skip
            captioner.wait_until_connected()
            caption = captioner.caption(voice, 16_000)
        assert bool(caption.usage.num_frames) == bool(frames)
        assert caption.usage.num_disclosed_states == frames


def test_target_without_a_verifier_is_marked(folder: Path, voice: NDArray[np.float32]) -> None:
    for target, reason in ((0.2, ReasonCode.NO_VERIFIER), (None, None)):
        with Captioner(folder, config=Settings(target_risk=target)) as captioner:
            found = captioner.caption(voice, 16_000).unverified_reason
        assert (found and found.code) == reason


def test_enrolment_guard_reports_block_under_target() -> None:
    guard = EnrolmentGuard(RiskControlledPolicy(MEASURED, target_risk=0.05))
    guard(BlockView(0, (1,), (0.9,), verifier_has_summary=False), BudgetView())
    assert guard.has_blocked


def test_explain_shows_the_chosen_setting(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(target_risk=0.2, disclosure="all_states", verifier={"url": "embedded"})
    explained = explain(settings, str(folder))
    assert explained.settings["disclosure"] == "summary"
    assert explained.settings["threshold"] == "0.2"
    assert explained.settings["target_risk"] == "0.2"
    assert explained.settings["most to disclose"] == "all_states"
    assert "threshold = 0.2" in explained.text().replace("\n", " ")
    config = folder / "ugsd.toml"
    config.write_text("target_risk = 0.001\n")
    assert main(["privacy", "explain", "--drafter", str(folder), "--config", str(config)]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_bundled_calibration_matches_bundled_weights() -> None:
    found = RiskCalibration.load(STARTER)
    assert found.slot == "emotion"
    assert found.checks
    assert RiskControlledPolicy.from_settings(Settings(target_risk=0.05), STARTER) is not None
