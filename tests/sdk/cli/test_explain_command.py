"""``ugsd explain``: the table, the picture, and how the command ends."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.reports.claims import RULES
from ugsd_sdk.users.models import Models

from tests.doubles.claimed_captions import ScriptedCaption, scripted_caption

Capsys = pytest.CaptureFixture[str]
STATED = (Slot.EMOTION, Slot.PITCH, Slot.CHANGE)


@pytest.fixture
def caption() -> ScriptedCaption:
    """A caption that states three slots, knows one more, and the verifier wrote the emotion."""
    emotion = Attribute(value="sad", decided_by=DecidedBy.VERIFIER, is_said=True)
    pace = Attribute(value="fast", confidence=0.62, measured=5.91)
    return scripted_caption(STATED, pause_spans=((0.3, 0.6),), emotion=emotion, pace=pace)


@pytest.fixture(autouse=True)
def profiles(
    monkeypatch: pytest.MonkeyPatch, drafter: ScriptedDrafter, caption: ScriptedCaption
) -> list[Profile | None]:
    """Make every caption the scripted one, and record the profiles that it was made with."""
    used: list[Profile | None] = []

    def scripted(self: Captioner, clip: str, *, profile: Profile | None = None) -> Any:
        used.append(profile)
        return caption

    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))
    monkeypatch.setattr(Captioner, "caption", scripted)
    return used


@pytest.fixture
def clip(tmp_path: Path, voice: NDArray[np.float32]) -> str:
    soundfile.write(tmp_path / "clip.wav", voice, 16_000)
    return str(tmp_path / "clip.wav")


def test_each_claim_has_number_and_rule(clip: str, capsys: Capsys) -> None:
    assert main(["explain", clip]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{clip}: 2.0 s of speech"
    assert lines[1].strip() == "A speaker sounds sad in a high, and grows quieter."
    rows = {line.split()[0]: line.split() for line in lines[2:] if line.strip()}
    assert rows["clause"] == ["clause", "value", "measured", "confidence", "decided", "by", "words"]
    assert rows["emotion"][:5] == ["emotion", "sad", "-", "-", "verifier"]
    assert rows["pitch"][:7] == ["pitch", "high", "200", "Hz", ">", "99", "%"]
    assert rows["change"][1:4] == ["quieter", "-5.3", "dB"]
    for slot in STATED:
        assert f"    {RULES[slot]}" in lines


def test_unstated_values_are_shown_as_such(clip: str, capsys: Capsys) -> None:
    assert main(["explain", clip]) == 0
    out = capsys.readouterr().out
    (pace,) = [line for line in out.splitlines() if line.startswith("  pace ")]
    assert pace.split() == [
        "pace",
        "fast",
        "5.9",
        "syllables/s",
        "62",
        "%",
        "device",
        "not",
        "stated",
    ]
    (absent,) = [line for line in out.splitlines() if "without a value" in line]
    assert absent.endswith(
        "not stated: loudness, variation, quality, pauses, emphasis, profile, previous"
    )


def test_picture_is_written_instead(clip: str, tmp_path: Path, capsys: Capsys) -> None:
    target = tmp_path / "new" / "clip.svg"
    assert main(["explain", clip, "--plot", str(target)]) == 0
    root = ET.fromstring(target.read_text(encoding="utf-8"))
    assert root.get("width") == "900"
    text = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "clip.wav, 1.0 s" in text
    assert "0.3 s" in text
    assert capsys.readouterr().out == (
        f"{target}: A speaker sounds sad in a high, and grows quieter.\n"
    )


@pytest.mark.parametrize("name", ["clip.png", "clip", "clip.svg.txt"])
def test_other_formats_are_refused(
    name: str, clip: str, tmp_path: Path, capsys: Capsys, profiles: list[Profile | None]
) -> None:
    assert main(["explain", clip, "--plot", str(tmp_path / name)]) == 2
    assert "ends in .svg" in capsys.readouterr().err
    assert profiles == []


def test_unwritable_picture_is_an_error(clip: str, capsys: Capsys) -> None:
    assert main(["explain", clip, "--plot", f"{clip}/clip.svg"]) == 1
    assert "ugsd: " in capsys.readouterr().err


def test_profile_is_read_and_not_changed(
    clip: str, tmp_path: Path, profiles: list[Profile | None]
) -> None:
    file = tmp_path / "ada.npz"
    Profile().save(file)
    assert main(["explain", clip, "--profile", str(file)]) == 0
    (used,) = profiles
    assert used is not None
    assert used.path == file
    assert used.is_frozen


def test_missing_profile_is_an_error(clip: str, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["explain", clip, "--profile", str(tmp_path / "none.npz")]) == 1
    assert "none.npz" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_narrow_console_costs_no_table(
    encoding: str, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding=encoding)
    other = Path(clip).rename(Path(clip).with_name("наш.wav"))
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["explain", str(other)]) == 0
    stream.flush()
    assert b"emotion" in shown.getvalue()


def test_hostile_words_are_escaped(
    clip: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = scripted_caption([Slot.EMOTION], words={Slot.EMOTION: " a\x1b[2J\nb"})
    monkeypatch.setattr(Captioner, "caption", lambda *_, **__: hostile)
    assert main(["explain", clip]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "a\\x1b[2J\\nb" in printed


def test_help_has_an_example(capsys: Capsys) -> None:
    assert main(["explain", "--help"]) == 0
    out = capsys.readouterr().out
    assert "ugsd explain" in out[out.index("Example") :]
