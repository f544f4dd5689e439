"""``ugsd privacy explain``: its statements by settings and figures."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import ugsd_sdk
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.reports.leakage import LEAKAGE_FILE, Leakage, LeakageFigure
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import GRAPHS, DrafterBundle
from ugsd_sdk.errors import ModelError
from ugsd_sdk.reports.explanation import explain
from ugsd_sdk.settings.config import Settings

STARTER = Path(ugsd_sdk.__file__).parent / "starter"


def _settings(**changes: object) -> Settings:
    return Settings(**{"verifier": {"url": "embedded"}, **changes})


def _leak(**changes: object) -> LeakageFigure:
    fields: dict[str, object] = {
        "attack": "speaker", "measure": "identification", "corpus": "ravdess", "seen": "summary",
        "profile": "3 apart", "value": 0.2, "low": 0.1, "high": 0.3, "chance": 0.17,
        "control": 0.98, "attacker": "LDA", "speakers": 24, "clips": 100,
    }  # fmt: skip
    return LeakageFigure(**(fields | changes))


def test_distributions_are_named_and_have_no_bound() -> None:
    lossless = {"verification": "speculative", "disclosure": "distributions"}
    text = str(explain(_settings(**lossless, noise={"sigma": 1.0}), "starter"))
    assert "how likely the device finds each emotion" in " ".join(text.split())
    assert "no bound: how likely the emotions are is sent without noise" in " ".join(text.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drafter with its own figures."""
    shutil.copytree(STARTER.parent / "audio_encoder", tmp_path / "audio_encoder")
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips", LEAKAGE_FILE))
    weights = {
        name: hashlib.sha256(DrafterBundle(copy).find(name).read_bytes()).hexdigest()
        for name in GRAPHS
    }
    leaks = (
        _leak(),
        _leak(profile="none", value=0.6),
        _leak(seen="all_states", value=0.4),
        _leak(measure="EER", value=0.5, chance=0.5),
        _leak(attack="traffic", measure="escalated", seen="padded", profile="", value=0.99),
        _leak(attack="traffic", measure="escalated", seen="constant", profile="", value=0.51),
    )
    figures = Leakage(format=1, command="ugsd-lab attack", weights=weights, leaks=leaks)
    (copy / LEAKAGE_FILE).write_text(figures.model_dump_json())
    return copy


def _results(settings: Settings, folder: Path) -> str:
    return " ".join(explain(settings, str(folder)).attacker_results)


def test_only_figures_of_these_settings_are_shown(folder: Path) -> None:
    known = _results(_settings(), folder)
    assert "right 20 times in 100, by guessing 17 times in 100" in known
    assert "from the whole audio embedding 98 times in 100" in known
    assert "wrong 50 times in 100" in known
    assert "99 times" in known, "the padded shape shows whether it escalated"
    assert "60 times" not in known
    assert "60 times" in _results(_settings(min_enrolment=0), folder)
    assert "40 times" in _results(_settings(disclosure="all_states"), folder)
    constant = _results(_settings(traffic_shape="constant"), folder)
    assert "51 times" in constant
    assert "99 times" not in constant


@pytest.mark.parametrize(
    "changes",
    [
        {"min_enrolment": 1},
        {"min_enrolment": 0, "disclosure": "all_states"},
        {"disclosure": "block_states"},
    ],
)
def test_unmeasured_settings_are_called_unmeasured(
    folder: Path, changes: dict[str, object]
) -> None:
    results = explain(_settings(**changes), str(folder)).attacker_results
    assert results[0] == "from the words and numbers: not measured with these settings"
    assert not any("which of a few people" in line for line in results)


def test_constant_shape_names_the_required_pace(folder: Path) -> None:
    assert "reply_after_ms" in explain(_settings(traffic_shape="constant"), str(folder)).source
    assert "reply_after_ms" not in explain(_settings(), str(folder)).source


def test_sent_part_follows_the_settings(folder: Path) -> None:
    def sent(**changes: object) -> str:
        return " ".join(explain(_settings(**changes), str(folder)).sent)

    assert "numbers about the clip" in sent()
    assert "before 3 clips have enrolled you" in sent()
    assert "none at all of captions without a user's name" in sent()
    assert "before" not in sent(min_enrolment=0)
    assert "no numbers about the clip" in sent(disclosure="tokens")
    assert "one frame of one size" in sent(traffic_shape="constant")


def test_explanation_without_verifier_says_none_is_set(folder: Path) -> None:
    explanation = explain(Settings(), str(folder))
    assert explanation.sent == ("nothing: no verifier is set",)
    nothing = ("no such numbers are sent: no verifier is set",)
    assert explanation.noise_guarantee == explanation.attacker_results == nothing


def test_explanation_uses_names_of_the_settings_file(folder: Path) -> None:
    explained = explain(_settings(traffic_shape="constant", min_enrolment=5), str(folder)).settings
    assert (explained["traffic_shape"], explained["min_enrolment"]) == ("constant", "5")


def test_one_in_a_hundred_is_singular(folder: Path) -> None:
    figures = json.loads((folder / LEAKAGE_FILE).read_text())
    figures["leaks"] = [_leak(value=0.01, chance=0.014).model_dump()]
    (folder / LEAKAGE_FILE).write_text(json.dumps(figures))
    assert "right 1 time in 100, by guessing 1 time in 100" in _results(_settings(), folder)


def test_noise_guarantee_has_epsilon_and_label(folder: Path) -> None:
    def guarantee(**changes: object) -> str:
        return " ".join(explain(_settings(**changes), str(folder)).noise_guarantee)

    assert guarantee() == "nothing: they are sent without noise"
    assert "no such numbers are sent" in guarantee(disclosure="tokens")
    private, noisy = guarantee(noise={"sigma": 2.0}), guarantee(noise={"sigma": 0.5})
    text = r"epsilon \S+ at delta 1e-06 per caption \({}\); .*it holds for: two inputs that give"
    assert re.match(text.format("privacy"), private)
    assert re.match(text.format("noise"), noisy)
    assert "above epsilon 10 this is noise, not privacy" in noisy
    assert guarantee(noise={"epsilon": 4.0}).startswith("epsilon 4.00 ")
    per_token: dict[str, object] = {"noise": {"sigma": 2.0}, "disclosure": "all_states"}
    assert "(noise)" in guarantee(**per_token), "96 states in a caption"
    lifted = {"tokens_per_caption": "none"}
    assert "any number of them: set a cap" in guarantee(**per_token, limits=lifted)
    capped = guarantee(**per_token, limits=lifted | {"epsilon_per_caption": 3.0})
    assert capped.startswith("epsilon 3.00 "), "the cap is the guarantee"
    assert "none of them is sent" in guarantee(limits={"epsilon_per_day": 3.0})


def test_figures_without_noise_are_marked(folder: Path) -> None:
    noised = explain(_settings(noise={"sigma": 2.0}), str(folder))
    assert noised.settings["noise"] == "sigma 2"
    assert "The figures are for numbers without noise" in noised.source
    plain = explain(_settings(), str(folder))
    assert plain.settings["noise"] == "none"
    assert "without noise" not in plain.source


def test_worst_attack_is_shown_preferring_large_corpora(folder: Path) -> None:
    figures = json.loads((folder / LEAKAGE_FILE).read_text())
    more = [
        _leak(corpus="nemo", value=0.7, chance=0.33, speakers=9),
        _leak(corpus="emodb", value=0.95, chance=0.5, speakers=2),
        _leak(corpus="emodb", measure="gender", value=0.9, chance=0.5, speakers=2),
    ]
    figures["leaks"] += [leak.model_dump() for leak in more]
    (folder / LEAKAGE_FILE).write_text(json.dumps(figures))
    results = _results(_settings(), folder)
    assert "right 70 times" in results
    assert "right 20 times" not in results
    assert "right 95 times" not in results
    assert "right 90 times" in results


def test_figures_of_other_weights_are_refused(folder: Path) -> None:
    figures = json.loads((folder / LEAKAGE_FILE).read_text())
    figures["weights"]["reader.onnx"] = "0" * 64
    (folder / LEAKAGE_FILE).write_text(json.dumps(figures))
    assert explain(_settings(), str(folder)).attacker_results == ("not measured",)
    for other in ({}, {"reader.onnx": "0" * 64}):
        with pytest.raises(LeakageNotMeasured, match="other weights"):
            Leakage.load(folder, other)
    with pytest.raises(LeakageNotMeasured, match="other weights"):
        Leakage.load(folder, {"reader.onnx": "1" * 64})


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"format": 2}'])
def test_damaged_figures_are_ignored(folder: Path, damage: str) -> None:
    (folder / LEAKAGE_FILE).write_text(damage)
    assert explain(_settings(), str(folder)).attacker_results == ("not measured",)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({}, "min_gain", "0"),
        ({"min_gain": 0.05}, "min_gain", "0.05"),
        ({"threshold": 0.3}, "threshold", "0.3"),
        ({"block_unit": "tokens"}, "threshold", None),
    ],
)
def test_settings_name_what_decides(given: dict[str, object], name: str, value: str | None) -> None:
    if value is None:
        predictor = RejectionPredictor.load(DrafterBundle(STARTER).rejection_predictor_file)
        value = f"{predictor.threshold:.3g}"
    found = explain(_settings(**given), "starter").settings
    decides = {one: found[one] for one in ("min_gain", "threshold") if one in found}
    assert decides == {name: value}


def test_folder_without_drafter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        explain(_settings(), str(tmp_path))


def test_command_explains_the_bundled_drafter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["privacy", "explain", "--verifier", "embedded"]
    assert main(options) == 0
    text = capsys.readouterr().out
    assert "not measured" not in text
    assert "min_enrolment = 3" in text
    assert "min_gain = 0," in text
    assert "which of a known list of sentences was spoken" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["disclosure"] == "summary"
