"""The study of claims, and its command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.prosody import Measures
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.claim_printing import as_markdown
from ugsd_lab.evaluation.claim_study import (
    CaptionedClip,
    captioned_clips,
    clips_of,
    study_of,
    truths,
)
from ugsd_lab.evaluation.claim_truth import NOTHING
from ugsd_lab.training.profiles import in_recording_order
from ugsd_sdk.attributes.length import CaptionLength

from tests.lab.evaluation.spoken_claims import (
    BORDERS,
    PLAIN,
    ScriptedCaption,
    ScriptedSource,
    a_clip,
    attributes,
)

CLIPS = [
    a_clip("a1"), a_clip("a2", emotion="sad"), a_clip("a3"),
    a_clip("b1", speaker="08"), replace(a_clip("c1"), corpus="ravdess", intensity="strong"),
]  # fmt: skip
PROSODIES = {clip.id: PLAIN for clip in CLIPS}


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


def angry(path: Path, length: CaptionLength) -> ScriptedCaption:
    """Every caption says angry; longer ones also say that the pitch is high, which is wrong."""
    return ScriptedCaption(
        f"A voice sounds angry {path.stem}.",
        attributes(
            {"emotion": "angry"}
            if length is CaptionLength.SHORT
            else {"emotion": "angry", "pitch": "high"},
            distribution={"angry": 0.7, "sad": 0.3},
            arousal=0.5,
            valence=-0.5,
        ),
    )


def captioned(source: ScriptedSource) -> list[CaptionedClip]:
    truth = truths(CLIPS, PROSODIES, BORDERS)
    return captioned_clips(
        source, CLIPS, truth, quiet, lengths=(CaptionLength.SHORT, CaptionLength.RICH), seed=3
    )


def test_relations_are_to_the_speakers_own_earlier_clips() -> None:
    truth = truths(CLIPS, PROSODIES, BORDERS)
    order = [CLIPS[i] for i in in_recording_order(CLIPS)]
    firsts = {(clip.corpus, clip.speaker): clip.id for clip in reversed(order)}
    without = {name for name, facts in truth.items() if facts["profile"] == NOTHING}
    assert without == set(firsts.values())
    assert without == {name for name, facts in truth.items() if facts["previous"] == NOTHING}


def test_each_length_begins_with_empty_profiles() -> None:
    source = ScriptedSource(angry)
    captioned(source)
    profiles: dict[tuple[CaptionLength, str], set[int]] = {}
    for name, length, profile, seed in source.calls:
        profiles.setdefault((length, name[0]), set()).add(id(profile))
        assert seed == 3
    assert [len(ids) for ids in profiles.values()] == [1] * 6
    assert len({next(iter(ids)) for ids in profiles.values()}) == 6


def test_study_counts_claims_by_slot_and_corpus() -> None:
    study = study_of(captioned(ScriptedSource(angry)))
    assert study.clips == {"emodb": 4, "ravdess": 1, "all": 5}
    emotion = study.precision[CaptionLength.RICH]["emotion"]
    assert {corpus: share.share for corpus, share in emotion.items()} == {
        "emodb": 0.75, "ravdess": 1.0, "all": 0.8,
    }  # fmt: skip
    pitch = study.precision[CaptionLength.RICH]["pitch"]["all"]
    assert (pitch.count, pitch.share) == (5, 0.0)
    assert study.precision["short"]["pitch"]["all"].count == 0
    assert study.recall["short"]["emotion"].share == 0.8
    intensity = study.recall["short"]["intensity"]
    assert (intensity.count, intensity.share) == (1, 0.0)
    assert study.calibration["all"].accuracy == 0.8
    assert study.calibration["all"].confidence == pytest.approx(0.7)
    assert study.wording["short"].opening == "a voice sounds"


def test_markdown_has_each_table_once() -> None:
    text = as_markdown(
        study_of(captioned(ScriptedSource(angry))), {"emodb": "in-domain"}, split="test", limit=2
    )
    for title in ("short: claim precision", "rich: claim precision", "claim recall", "wording"):
        assert text.count(f"**{title}") == 1
    assert "| emotion | 0.75 (" in text
    assert "emodb (in-domain)" in text
    assert "at most 2 clips" in text
    assert "5 recordings" in text
    assert "| pitch |" in text


def test_study_without_captions_is_refused() -> None:
    with pytest.raises(EvaluationError, match="--split"):
        study_of([])
    with pytest.raises(EvaluationError, match="dev"):
        clips_of(CLIPS, "dev", None)


def test_limit_keeps_the_first_recordings_of_each_speaker() -> None:
    kept = clips_of(CLIPS, "test", 1)
    order = [CLIPS[i] for i in in_recording_order(CLIPS)]
    firsts: dict[tuple[str, str], Clip] = {}
    for clip in order:
        firsts.setdefault((clip.corpus, clip.speaker), clip)
    assert {clip.id for clip in kept} == {clip.id for clip in firsts.values()}


def few_clips(data: Path | None) -> list[Clip]:
    """Return three of EMO-DB's test clips of each speaker."""
    return clips_of(load_corpora(data), "test", 3)


class ScriptedCaptioner(ScriptedSource):
    """Takes the place of the captioner of the command."""

    def __init__(self, drafter: Path) -> None:
        assert (drafter / "model.json").is_file()
        super().__init__(angry)

    def __enter__(self) -> ScriptedCaptioner:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_command_prints_tables_of_real_recordings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure_all(clips: Sequence[Clip], *_: object) -> dict[str, Measures]:
        return {clip.id: Measures(3.0, 2.0, -20.0, 5.0, 0.0, -10.0, 19.0) for clip in clips}

    monkeypatch.setattr("ugsd_sdk.Captioner", ScriptedCaptioner)
    monkeypatch.setattr("ugsd_lab.data.prosody.measure_all", measure_all)
    monkeypatch.setattr("ugsd_lab.data.corpora.load_corpora", few_clips)
    arguments = ["claims", "--limit", "2", "--length", "rich", "--length", "short"]
    assert main([*arguments, "--cache", str(tmp_path / "measures.json")]) == 0
    text = capsys.readouterr().out
    assert "emodb (in-domain)" in text
    assert "4 recordings; lengths: rich, short." in text


def test_command_compares_with_captions_by_people(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ugsd_sdk.Captioner", ScriptedCaptioner)
    (tmp_path / "one.wav").write_bytes(b"")
    captions = tmp_path / "fid2captions.json"
    captions.write_text('{"one": "愤怒，声音高亢"}', encoding="utf-8")
    arguments = ["--human-captions", str(captions), "--human-audio", str(tmp_path)]
    assert main(["claims", *arguments]) == 0
    text = capsys.readouterr().out
    assert "out-of-domain" in text
    assert "| pitch | 1 | 1 | 1.00 | 1.00 |" in text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--split", "all"], "calibration"),
        (["--drafter", "nowhere"], "starter, free, ceiling"),
        (["--human-captions", __file__], "give both"),
    ],
)
def test_wrong_options_name_the_right_ones(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claims", *arguments]) == 1
    assert hint in capsys.readouterr().err
