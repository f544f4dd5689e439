"""``ugsd caption``: its length and seed, its JSON, and what it prints of a voice."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.caption import Caption
from ugsd_sdk.cli import main
from ugsd_sdk.cli.caption_output import attributes_line, print_caption
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.prosody.recording_quality import RecordingNote
from ugsd_sdk.users.models import Models

from tests.doubles.captions import sample_caption


@pytest.fixture
def clip(
    tmp_path: Path,
    voice: NDArray[np.float32],
    drafter: ScriptedDrafter,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A clip, and a command that loads a drafter that needs no weights."""
    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))
    soundfile.write(tmp_path / "clip.wav", voice, 16_000)
    return str(tmp_path / "clip.wav")


def test_json_is_small_or_has_details(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "--json", clip]) == 0
    assert main(["caption", "--json", "--details", clip]) == 0
    small, details = map(Caption.from_json, capsys.readouterr().out.splitlines())
    assert small.text == details.text
    assert not small.tokens
    assert details.tokens


def test_length_and_seed_are_options(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "--json", "--length", "short", "--seed", "7", clip]) == 0
    caption = Caption.from_json(capsys.readouterr().out)
    assert (caption.length, caption.seed) == (CaptionLength.SHORT, 7)


def test_options_win_over_settings(
    clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "ugsd.toml"
    config.write_text('length = "rich"\nseed = 8\n')
    assert main(["caption", "--json", "--config", str(config), clip]) == 0
    assert main(["caption", "--json", "--config", str(config), "--seed", "9", clip]) == 0
    found = map(Caption.from_json, capsys.readouterr().out.splitlines())
    assert [(one.length, one.seed) for one in found] == [("rich", 8), ("rich", 9)]


def test_attributes_and_notes_are_printed() -> None:
    caption = sample_caption().model_copy(update={"audio_quality": tuple(RecordingNote)})
    shown = io.StringIO()
    print_caption(Console(file=shown, soft_wrap=True), caption)
    lines = shown.getvalue().splitlines()
    assert lines[2] == (
        "  angry .82 (fearful .09); strong feeling .91; loud .97; fast .93; high pitch .99; "
        "lively .97; louder towards the end .93"
    )
    assert [line for line in lines if "clipped" in line]
    assert len(lines) == 4 + len(RecordingNote)


def test_no_line_is_printed_without_attributes() -> None:
    caption = sample_caption().model_copy(update={"attributes": Attributes.unknown()})
    shown = io.StringIO()
    print_caption(Console(file=shown, soft_wrap=True), caption)
    assert len(shown.getvalue().splitlines()) == 3


def test_verifier_is_named_for_its_emotion() -> None:
    emotion = Attribute(value="sad", decided_by=DecidedBy.VERIFIER, distribution={"calm": 0.6})
    line = attributes_line(Attributes(emotion=emotion))
    assert line == "sad by the verifier (device: calm .60)"
