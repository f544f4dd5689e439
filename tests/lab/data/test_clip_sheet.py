"""``ugsd-lab captions show``."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from rich.console import Console
from ugsd_lab.cli import main
from ugsd_lab.data import clip_sheet
from ugsd_lab.data.captions import references
from ugsd_lab.data.clip_sheet import ClipSheet, find_clip, print_sheet, sheet_of
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.lexicon import attributes_named
from ugsd_lab.data.prosody import Levels, Measures, Norms
from ugsd_lab.errors import CorpusError
from ugsd_lab.training import starter
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot

MEASURES = Measures(3.0, 2.0, -20.0, 5.0, 0.1, -8.0, 19.0)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return load_corpora(None)


@pytest.fixture(scope="module")
def norms(clips: list[Clip]) -> Norms:
    """Norms of a population in which every clip measures MEASURES."""
    return Norms.fit(clips, dict.fromkeys((clip.id for clip in clips), MEASURES))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measures]:
    """Replaces the measuring; holds what it returns."""
    found = [replace(MEASURES, pitch_st=9.0, pace=float("nan"))]
    monkeypatch.setattr(clip_sheet, "measure", lambda samples, syllables: found[0])
    return found


def test_clip_is_found_by_id_name_and_recording(clips: list[Clip], tmp_path: Path) -> None:
    wanted = clips[0]
    for name in ("emodb/03a01Fa", "03a01Fa", str(wanted.path)):
        assert find_clip(clips, name).id == wanted.id
    copied = tmp_path / "emodb" / "wav" / "03a01Fa.opus"
    copied.parent.mkdir(parents=True)
    shutil.copy(wanted.path, copied)
    found = find_clip(clips, str(copied))
    assert found.id == wanted.id
    assert found.path == copied


def test_foreign_recording_is_not_mistaken_for_a_clip(clips: list[Clip], tmp_path: Path) -> None:
    foreign = tmp_path / "mine" / "03a01Fa.opus"
    foreign.parent.mkdir()
    shutil.copy(clips[0].path, foreign)
    with pytest.raises(CorpusError, match=r"belongs to none of the loaded corpora: .*--data"):
        find_clip(clips, str(foreign))


def test_misspelt_clip_gets_similar_names(clips: list[Clip]) -> None:
    with pytest.raises(
        CorpusError, match=r"'03a01Fx' in emodb; similar names: .*emodb/03a01Fa.*--data"
    ):
        find_clip(clips, "03a01Fx")
    with pytest.raises(CorpusError, match=r"no clip 'what' in emodb\. .*--data"):
        find_clip(clips, "what")
    twice = [clips[0], replace(clips[0], corpus="ravdess")]
    with pytest.raises(CorpusError, match="use emodb/03a01Fa or ravdess/03a01Fa"):
        find_clip(twice, "03a01Fa")


def test_every_measure_and_level_is_shown(
    clips: list[Clip], norms: Norms, measured: list[Measures]
) -> None:
    shown = {*clip_sheet._WORDED, "level_db"}
    assert shown == {field.name for field in fields(Measures)}
    sheet = sheet_of(clips[0], norms, seed=0, count=5, gender=True)
    assert [row.attribute for row in sheet.measures] == [field.name for field in fields(Levels)]
    levels = norms.levels(clips[0], measured[0])
    assert [row.level for row in sheet.measures] == list(vars(levels).values())
    assert sheet.quality == levels.quality


def test_sheet_shows_the_captions_used_in_training(
    clips: list[Clip], norms: Norms, measured: list[Measures]
) -> None:
    levels = norms.levels(clips[0], measured[0])
    sheet = sheet_of(clips[0], norms, seed=3, count=6, gender=True)
    assert list(sheet.references) == references(clips[0], levels, seed=3, count=6)
    without = sheet_of(clips[0], norms, seed=0, count=5, gender=False)
    assert not any(attributes_named(text, "gender") for text in without.references)


def printed(sheet: ClipSheet) -> str:
    console = Console(file=io.StringIO(), width=130)
    print_sheet(sheet, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_printed_sheet_holds_every_label(
    clips: list[Clip], norms: Norms, measured: list[Measures]
) -> None:
    votes = {"angry": 7, "happy": 2}
    clip = replace(clips[0], votes=votes, intensity="strong", gender=None)
    text = printed(sheet_of(clip, norms, seed=0, count=5, gender=True))
    for label in ("emodb", "03", "not known", "German", "happy", "strong", "angry 7, happy 2"):
        assert label in text
    assert "semitones above 100 Hz" in text
    assert "not measured" in text
    assert "│ any " in text  # of unknown gender: reference group of all clips
    assert "pitch: high" in text
    assert "\n 5 " in text


def test_json_has_null_for_unmeasured_values(
    monkeypatch: pytest.MonkeyPatch,
    norms: Norms,
    measured: list[Measures],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(starter, "load_norms", lambda: norms)
    assert main(["captions", "show", "03a01Fa", "--json", "--count", "7", "--no-gender"]) == 0
    sheet = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert sheet["clip"] == "emodb/03a01Fa"
    assert sheet["votes"] is None
    assert sheet["quality"] in SLOT_VALUES[Slot.QUALITY]
    assert len(sheet["references"]) == 7
    by_attribute = {row["attribute"]: row for row in sheet["measures"]}
    assert by_attribute["pace"]["value"] is None
    assert by_attribute["pace"]["level"] == "mid"
    assert by_attribute["pitch"] == {
        "name": "median pitch", "value": 9.0, "unit": "semitones above 100 Hz", "group": "male",
        "low": 3.0, "high": 3.0, "attribute": "pitch", "level": "high",
    }  # fmt: skip


def test_unknown_clip_is_reported_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "show", "emodb/03a01Fx"]) == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("ugsd-lab: no clip 'emodb/03a01Fx' in emodb; similar names:")


def test_real_clip_is_measured(norms: Norms, clips: list[Clip]) -> None:
    sheet = sheet_of(clips[0], norms, seed=0, count=5, gender=True)
    assert 0 < sheet.measures[0].value < 15
    assert len(sheet.references) == 5
