"""The whole path on real speech, and what the commands say of it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from ugsd_lab.bench import Figure, installed_size_mb
from ugsd_lab.cli import main
from ugsd_lab.corpora import load_corpora
from ugsd_lab.evaluate import ARMS, evaluate, over_speakers
from ugsd_lab.metrics import bleu, emotion_right
from ugsd_lab.starter import STARTER_DRAFTER, load_norms
from ugsd_sdk.drafter.onnx import DrafterDescription
from ugsd_server.settings import STARTER_FOLDER

MIB = 2**20


def test_every_arm_captions_real_clips(tmp_path: Path) -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "test"][::21]
    rows = {
        row.arm: row
        for row in evaluate(
            clips,
            drafter=STARTER_DRAFTER,
            verifier=STARTER_FOLDER,
            norms=load_norms(),
            cache=tmp_path / "measures.json",
            progress=lambda *_: None,
        )
    }
    assert set(rows) == set(ARMS)
    assert rows["drafter alone"].bytes_sent == rows["drafter alone"].disclosed == 0
    assert rows["escalate everything"].escalation == pytest.approx(1)
    assert rows["UGSD"].escalation < 0.95
    assert all(row.emotion_low <= row.emotion <= row.emotion_high for row in rows.values())
    assert all(0 < row.p50_ms <= row.p95_ms for row in rows.values())
    assert all(row.clips == len(clips) and row.bleu > 5 for row in rows.values())


def test_the_bundled_drafter_is_right_more_often_than_always_saying_angry(tmp_path: Path) -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "test"][::4]
    (row, *_) = evaluate(
        clips,
        drafter=STARTER_DRAFTER,
        verifier=STARTER_FOLDER,
        norms=load_norms(),
        cache=tmp_path / "measures.json",
        progress=lambda *_: None,
    )
    majority = max(
        sum(clip.emotion == emotion for clip in clips) for emotion in {c.emotion for c in clips}
    ) / len(clips)
    assert row.emotion > majority + 0.25


def test_an_interval_over_speakers_is_wider_than_one_over_clips() -> None:
    speakers = [name for name in "abcdefgh" for _ in range(50)]
    by_speaker = [float(name in "abcd") for name in speakers]
    mixed = [float(i % 2) for i in range(len(speakers))]
    low, high = over_speakers(speakers, by_speaker)
    assert low < 0.3 < 0.7 < high
    assert over_speakers(speakers, mixed) == (0.5, 0.5)


def test_bleu_is_sacrebleus() -> None:
    assert bleu(["a b c d e"], [["a b c d e", "x"]]) == pytest.approx(100)
    assert bleu(["a b c d e"], [["v w x y z"]]) < 5


def test_an_emotion_beside_another_is_wrong() -> None:
    assert emotion_right("A man sounds sad.", "sad")
    assert not emotion_right("A man sounds sad and furious.", "sad")
    assert not emotion_right("A man speaks.", "sad")


def test_the_bundled_weights_are_small_enough() -> None:
    sizes = {
        path.name: path.stat().st_size
        for path in [*STARTER_DRAFTER.glob("*.onnx"), *STARTER_FOLDER.glob("*.onnx")]
    }
    assert sum(size for name, size in sizes.items() if name != "verifier.onnx") <= 12 * MIB
    assert sizes["verifier.onnx"] <= 25 * MIB


def test_every_weight_file_has_its_card_and_licence() -> None:
    for folder in (STARTER_DRAFTER, STARTER_FOLDER):
        card = (folder / "README.md").read_text("utf-8")
        assert "ugsd-lab train" in card
        assert "CC BY-NC-SA 4.0" in card
    described = DrafterDescription.model_validate_json(
        (STARTER_DRAFTER / "model.json").read_bytes()
    )
    assert described.licence == "CC-BY-NC-SA-4.0"


def test_train_refuses_a_changed_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "recipe.json").write_text(json.dumps({"seed": 1}))
    whisper = tmp_path / "whisper.safetensors"
    whisper.touch()
    arguments = ["train", "--data", str(tmp_path), "--whisper", str(whisper), "--work", str(work)]
    assert main(arguments) == 1
    assert "--work" in capsys.readouterr().err


def test_an_unknown_split_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--split", "all"]) == 1
    assert "calibration" in capsys.readouterr().err


def test_installed_size_counts_ourselves_and_what_we_need() -> None:
    own = sum(p.stat().st_size for p in STARTER_DRAFTER.glob("*.onnx")) / 1e6
    assert own + 50 < installed_size_mb("ugsd")


def test_a_figure_over_its_goal_is_marked_missed() -> None:
    assert Figure("x", 2, "s", 1).mark == "missed"
    assert Figure("x", 1, "s", 1).mark == "met"
    assert Figure("x", 1, "s").mark == ""


def test_norms_are_bundled() -> None:
    assert files("ugsd_lab").joinpath("norms.json").is_file()
    assert set(load_norms().quartiles) >= {"pitch_st:female", "pace:Polish", "level_db:emodb"}
