"""What `ugsd privacy explain` tells, under which settings, and from which figures."""

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
        "habit": "3 apart", "value": 0.2, "low": 0.1, "high": 0.3, "chance": 0.17, "control": 0.98,
        "attacker": "LDA", "speakers": 24, "clips": 100,
    }  # fmt: skip
    return LeakageFigure(**(fields | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drafter with figures of its own."""
    shutil.copytree(STARTER.parent / "ears", tmp_path / "ears")
    copy = tmp_path / "drafter"
    shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("clips", LEAKAGE_FILE))
    weights = {
        name: hashlib.sha256(DrafterBundle(copy).find(name).read_bytes()).hexdigest()
        for name in GRAPHS
    }
    leaks = (
        _leak(),
        _leak(habit="none", value=0.6),
        _leak(seen="all_states", value=0.4),
        _leak(measure="EER", value=0.5, chance=0.5),
        _leak(attack="traffic", measure="escalated", seen="padded", habit="", value=0.99),
        _leak(attack="traffic", measure="escalated", seen="constant", habit="", value=0.51),
    )
    figures = Leakage(format=1, command="ugsd-lab attack", weights=weights, leaks=leaks)
    (copy / LEAKAGE_FILE).write_text(figures.model_dump_json())
    return copy


def _told(settings: Settings, folder: Path) -> str:
    return " ".join(explain(settings, str(folder)).attacker_results)


def test_only_the_figures_of_these_settings_are_told(folder: Path) -> None:
    known = _told(_settings(), folder)
    assert "right 20 times in 100, guessing 17 times in 100" in known
    assert "from all that the ears heard 98 times in 100" in known
    assert "wrong 50 times in 100" in known
    assert "99 times" in known, "the padded shape shows whether it escalated"
    assert "60 times" not in known
    assert "60 times" in _told(_settings(min_enrolment=0), folder)
    assert "40 times" in _told(_settings(disclosure="all_states"), folder)
    constant = _told(_settings(traffic_shape="constant"), folder)
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
def test_what_was_not_measured_is_said_to_be_so(folder: Path, changes: dict[str, object]) -> None:
    told = explain(_settings(**changes), str(folder)).attacker_results
    assert told[0] == "of the words and numbers: not measured under these settings"
    assert not any("which of a few people" in line for line in told)


def test_constant_shape_names_the_pace_that_it_needs(folder: Path) -> None:
    assert "reply_after_ms" in explain(_settings(traffic_shape="constant"), str(folder)).source
    assert "reply_after_ms" not in explain(_settings(), str(folder)).source


def test_what_leaves_follows_the_settings(folder: Path) -> None:
    def leaves(**changes: object) -> str:
        return " ".join(explain(_settings(**changes), str(folder)).sent)

    assert "numbers about the clip" in leaves()
    assert "before 3 clips of you were heard" in leaves()
    assert "before" not in leaves(min_enrolment=0)
    assert "no numbers about the clip" in leaves(disclosure="tokens")
    assert "one frame of one size" in leaves(traffic_shape="constant")
    assert explain(Settings(), str(folder)).sent == ("nothing: no verifier is set",)


def test_what_noise_guarantees_is_told_with_epsilon_and_its_word(folder: Path) -> None:
    def bound(**changes: object) -> str:
        return " ".join(explain(_settings(**changes), str(folder)).noise_guarantee)

    assert bound() == "nothing: they leave without noise"
    assert "no such numbers leave" in bound(disclosure="tokens")
    private, noisy = bound(noise={"sigma": 2.0}), bound(noise={"sigma": 0.5})
    told = r"epsilon \S+ at delta 1e-06 per caption \({}\); .*it holds for: two inputs that give"
    assert re.match(told.format("privacy"), private)
    assert re.match(told.format("noise"), noisy)
    assert "above epsilon 10 that is noise, not privacy" in noisy
    assert bound(noise={"epsilon": 4.0}).startswith("epsilon 4.00 ")
    per_token: dict[str, object] = {"noise": {"sigma": 2.0}, "disclosure": "all_states"}
    assert "(noise)" in bound(**per_token), "96 states in a caption"
    lifted = {"tokens_per_caption": "none"}
    assert "any number of them: set a cap" in bound(**per_token, limits=lifted)
    capped = bound(**per_token, limits=lifted | {"epsilon_per_caption": 3.0})
    assert capped.startswith("epsilon 3.00 "), "the cap is the guarantee"
    assert "none of them leaves" in bound(limits={"epsilon_per_day": 3.0})


def test_figures_without_noise_are_not_told_as_if_they_had_it(folder: Path) -> None:
    noised = explain(_settings(noise={"sigma": 2.0}), str(folder))
    assert noised.settings["noise"] == "sigma 2"
    assert "The figures are of numbers without noise" in noised.source
    plain = explain(_settings(), str(folder))
    assert plain.settings["noise"] == "none"
    assert "without noise" not in plain.source


def test_of_each_attack_the_worst_is_told_and_two_people_only_in_need(folder: Path) -> None:
    figures = json.loads((folder / LEAKAGE_FILE).read_text())
    more = [
        _leak(corpus="nemo", value=0.7, chance=0.33, speakers=9),
        _leak(corpus="emodb", value=0.95, chance=0.5, speakers=2),
        _leak(corpus="emodb", measure="gender", value=0.9, chance=0.5, speakers=2),
    ]
    figures["leaks"] += [leak.model_dump() for leak in more]
    (folder / LEAKAGE_FILE).write_text(json.dumps(figures))
    told = _told(_settings(), folder)
    assert "right 70 times" in told
    assert "right 20 times" not in told
    assert "right 95 times" not in told
    assert "right 90 times" in told


def test_figures_of_other_weights_are_not_told(folder: Path) -> None:
    figures = json.loads((folder / LEAKAGE_FILE).read_text())
    figures["weights"]["reader.onnx"] = "0" * 64
    (folder / LEAKAGE_FILE).write_text(json.dumps(figures))
    assert explain(_settings(), str(folder)).attacker_results == ("nobody measured it",)
    for other in ({}, {"reader.onnx": "0" * 64}):
        with pytest.raises(LeakageNotMeasured, match="other weights"):
            Leakage.load(folder, other)
    with pytest.raises(LeakageNotMeasured, match="other weights"):
        Leakage.load(folder, {"reader.onnx": "1" * 64})


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"format": 2}'])
def test_damaged_figures_are_no_figures(folder: Path, damage: str) -> None:
    (folder / LEAKAGE_FILE).write_text(damage)
    assert explain(_settings(), str(folder)).attacker_results == ("nobody measured it",)


def test_a_folder_without_a_drafter_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        explain(_settings(), str(tmp_path))


def test_the_command_line_explains_the_bundled_drafter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["privacy", "explain", "--verifier", "embedded"]
    assert main(options) == 0
    told = capsys.readouterr().out
    assert "nobody measured it" not in told
    assert "which of a known list of sentences was spoken" in told
    assert max(map(len, told.splitlines())) <= 80
    assert main([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["disclosure"] == "summary"
