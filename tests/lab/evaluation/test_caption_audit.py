"""``ugsd-lab captions audit`` finds every kind of fault."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from ugsd_lab.cli import main
from ugsd_lab.data import prosody
from ugsd_lab.data.captions import MAX_WORDS, MIN_WORDS
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.evaluation import caption_audit
from ugsd_lab.evaluation.caption_audit import (
    FAULTS,
    CaptionAudit,
    as_json,
    audit,
    print_audit,
    verdict,
)
from ugsd_lab.training import starter

GOOD = "A man sounds angry, speaking slowly and loudly in a low, flat and clear voice."


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Ignore the progress."""


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return load_corpora(None)[::6]


@pytest.fixture(scope="module")
def measures(clips: list[Clip]) -> dict[str, Measures]:
    rng = np.random.default_rng(0)
    return {clip.id: Measures(*rng.normal(size=7)) for clip in clips}


@pytest.fixture(scope="module")
def norms(clips: list[Clip], measures: dict[str, Measures]) -> Norms:
    return Norms.fit(clips, measures)


def audit_of(
    monkeypatch: pytest.MonkeyPatch,
    norms: Norms,
    clips: Sequence[Clip],
    *texts: str,
    without: str = "The speaker sounds angry, speaking slowly and loudly in a low and flat voice.",
    vocabulary: Sequence[str] = (),
) -> CaptionAudit:
    """Audit ``clips`` as low in pitch, variation and pace, loud and clear, each with ``texts``."""
    values = Measures(-9.0, -9.0, 0.0, -9.0, -9.0, 9.0, 9.0)

    def references(*_: object, gender: bool = True, **__: object) -> list[str]:
        return list(texts) if gender else [without]

    monkeypatch.setattr(caption_audit, "references", references)
    measured = dict.fromkeys((clip.id for clip in clips), values)
    return audit(clips, measured, norms, vocabulary, quiet)


@pytest.fixture
def angry(clips: list[Clip]) -> Clip:
    return replace(clips[0], emotion="angry", gender="male", sentence="Das klingt nun mal so low.")


def test_captions_of_the_grammar_have_no_faults(
    clips: list[Clip], measures: dict[str, Measures], norms: Norms
) -> None:
    unlabelled = replace(clips[0], name="x", emotion=None)
    result = audit([*clips, unlabelled], measures, norms, [], quiet)
    assert verdict(result) is None
    assert not any(result.faults.values())
    assert (result.clips, result.unlabelled) == (len(clips), 1)
    assert result.variety.captions == 5 * len(clips)
    assert result.variety.repeated_within == 0
    lengths = result.variety.words_per_caption
    assert (
        MIN_WORDS
        <= lengths["min"]
        <= lengths["p5"]
        <= lengths["median"]
        <= lengths["max"]
        <= MAX_WORDS
    )
    assert audit(clips, measures, norms, [], quiet, seed=1).variety != result.variety


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (GOOD.replace("angry", "happy"), "emotion: happy"),
        (GOOD.replace("angry", "angry and sad"), "emotion: angry and sad"),
        (GOOD.replace("angry", "well"), "emotion: nothing"),
        (GOOD.replace("A man", "A woman"), "gender: female"),
        (GOOD.replace("low, ", "high, "), "pitch: high"),
        (GOOD.replace("loudly", "softly"), "loudness: quiet"),
        (GOOD.replace("clear", "husky"), "quality: husky"),
        (GOOD.replace("slowly", "slowly, with frequent breaks,"), "pauses: frequent"),
    ],
)
def test_untrue_caption_is_found(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip, text: str, what: str
) -> None:
    result = audit_of(monkeypatch, norms, [angry], GOOD, text)
    (fault,) = result.faults["contradiction"]
    assert (fault.clip, fault.text, fault.what) == (angry.id, text, what)
    assert verdict(result) == f"captions that {FAULTS['contradiction']}: 1"


def test_gender_is_found_although_switched_off(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    result = audit_of(monkeypatch, norms, [angry], GOOD, without=GOOD)
    assert [fault.what for fault in result.faults["gender"]] == ["gender: male"]
    assert not result.faults["contradiction"]


def test_words_of_the_utterance_are_found(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    """The word "low" of the utterance is not a fault, since the grammar has it too."""
    result = audit_of(monkeypatch, norms, [angry], GOOD, GOOD.replace("A man", "Nun, a man"))
    assert [fault.what for fault in result.faults["utterance"]] == ["nun"]


def test_too_short_or_long_captions_are_found(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    long = GOOD.replace("sounds", "sounds " + "so " * 30)
    result = audit_of(monkeypatch, norms, [angry], GOOD, "Angry, low.", long)
    assert [fault.what for fault in result.faults["length"]] == ["2 words", "45 words"]


def test_repetition_and_variety_are_counted(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    other = replace(angry, name="other")
    variety = audit_of(monkeypatch, norms, [angry], GOOD, GOOD, "A b a b c.").variety
    assert variety.repeated_within == pytest.approx(1 / 3)
    assert variety.repeated_across == 0
    assert audit_of(monkeypatch, norms, [angry, other], GOOD).variety.repeated_across == 1
    few = audit_of(monkeypatch, norms, [angry], "A b a b c.").variety
    assert few.words == 3
    assert few.distinct == {1: 3 / 5, 2: 3 / 4, 3: 1.0}
    assert few.openings == {"A b a": 1.0}
    assert next(iter(variety.openings)) == "A man sounds"
    assert variety.openings["A man sounds"] == pytest.approx(2 / 3)


def test_words_outside_the_vocabulary_are_listed(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    result = audit_of(
        monkeypatch, norms, [angry], GOOD, without="A b a b matter-of-fact.",
        vocabulary=["a", "matter-of-fact"],
    )  # fmt: skip
    assert result.variety.not_in_vocabulary == {"b": 2, "A": 1}


def test_table_and_json_name_the_faults(
    monkeypatch: pytest.MonkeyPatch, norms: Norms, angry: Clip
) -> None:
    bad = GOOD.replace("angry", "happy")
    result = audit_of(monkeypatch, norms, [angry], *[bad] * 9)
    file = io.StringIO()
    print_audit(result, Console(file=file, width=200))
    assert f"emotion: happy: {bad}" in file.getvalue()
    assert "9, must be 0" in file.getvalue()
    report = json.loads(json.dumps(as_json(result)))
    assert report["faults"]["contradiction"]["count"] == 9
    assert report["faults"]["contradiction"]["examples"][0]["what"] == "emotion: happy"
    assert report["variety"]["captions"] == 9


@pytest.mark.parametrize("faulty", [False, True])
def test_command_fails_if_captions_are_not_true(
    monkeypatch: pytest.MonkeyPatch,
    norms: Norms,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    faulty: bool,
) -> None:
    caches: list[Path] = []

    def measure_all(clips: Sequence[Clip], cache: Path, progress: object) -> dict[str, Measures]:
        caches.append(cache)
        return {clip.id: Measures(*[0.0] * 7) for clip in clips}

    monkeypatch.setattr(prosody, "measure_all", measure_all)
    monkeypatch.setattr(starter, "load_norms", lambda: norms)
    if faulty:
        monkeypatch.setattr(caption_audit, "references", lambda *_, **__: [GOOD])
    cache = tmp_path / "measures.json"
    code = main(["captions", "audit", "--json", "--cache", str(cache)])
    captured = capsys.readouterr()
    assert caches == [cache]
    assert code == int(faulty)
    assert ("ugsd-lab: " in captured.err) is faulty
    assert json.loads(captured.out)["clips"] == 535
