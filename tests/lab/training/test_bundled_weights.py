"""The package's contents: small weights with their cards, and the command that makes them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from ugsd_lab.bench.device import installed_size_mb
from ugsd_lab.bench.figures import Figure
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import CORPORA, load_corpora
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms
from ugsd_sdk.drafter.bundle import BUNDLED
from ugsd_server.settings import STARTER_FOLDER

MIB = 2**20
DRAFTER_FOLDERS = [STARTER_DRAFTER.parent / name for name in BUNDLED]


def test_bundled_weights_are_small_enough() -> None:
    encoder = [STARTER_DRAFTER.parent / "audio_encoder"]
    shared, *drafters = (
        sum(path.stat().st_size for path in folder.glob("*.onnx"))
        for folder in [*encoder, *DRAFTER_FOLDERS]
    )
    assert shared
    assert all(shared + own <= 12 * MIB for own in drafters)
    assert (STARTER_FOLDER / "verifier.onnx").stat().st_size <= 25 * MIB


@pytest.mark.parametrize(
    ("folder", "licence"),
    [*zip(DRAFTER_FOLDERS, ("CC-BY-NC-SA-4.0", "CC0-1.0"), strict=True),
     (STARTER_FOLDER, "CC-BY-NC-SA-4.0")],
)  # fmt: skip
def test_every_weight_file_has_its_card_and_licence(folder: Path, licence: str) -> None:
    card = (folder / "README.md").read_text("utf-8")
    assert "ugsd-lab train" in card
    assert licence.removesuffix("-4.0").replace("CC-", "CC ") in card
    described = json.loads((folder / "model.json").read_text())
    assert described["licence"] == f"{licence} AND MIT"


def test_train_refuses_missing_corpora_and_changed_recipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, whisper = tmp_path / "work", tmp_path / "whisper.safetensors"
    whisper.touch()
    arguments = ["train", "--data", str(tmp_path), "--whisper", str(whisper), "--work", str(work)]
    assert main(arguments) == 1
    assert "corpus" in capsys.readouterr().err
    assert not work.exists(), "training did not start"
    some = load_corpora(None)[:3]
    named = [replace(c, corpus=n) for c, n in zip(some, CORPORA, strict=True)]
    monkeypatch.setattr("ugsd_lab.training.starter.load_corpora", lambda data: named)
    work.mkdir()
    (work / "recipe.json").write_text(json.dumps({"seed": 1}))
    assert main(arguments) == 1
    assert "--work" in capsys.readouterr().err


def test_installed_size_counts_package_and_dependencies() -> None:
    own = sum(p.stat().st_size for p in STARTER_DRAFTER.glob("*.onnx")) / 1e6
    assert own + 50 < installed_size_mb("ugsd")


def test_figure_over_its_goal_is_marked_missed() -> None:
    assert Figure("x", 2, "s", 1).mark == "missed"
    assert Figure("x", 1, "s", 1).mark == "met"
    assert Figure("x", 1, "s").mark == ""


def test_lab_has_norms_for_pitch_pace_tilt() -> None:
    assert files("ugsd_lab.data").joinpath("norms.json").is_file()
    assert set(load_norms().borders) >= {"pitch_st:female", "pace:all", "tilt_db:any"}
