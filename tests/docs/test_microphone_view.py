"""The example of a view in the terminal, with a file in place of a microphone."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.errors import UnreadableAudio
from ugsd_sdk.streams.chunks import AudioChunk

from tests.docs.example_modules import example
from tests.doubles.speech import recorded_speech

microphone_view = example("microphone_view")
ERASED = "\x1b[1A\x1b[2K"
"""One line up, and clear it."""


def shown(path: Path, *, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with Captioner() as captioner:
        microphone_view.show(captioner, microphone_view.PlayedFile(str(path)), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.wav"
    soundfile.write(path, np.pad(recorded_speech(1.5), (8_000, 16_000)), 16_000)
    return path


def test_drafts_are_overwritten_and_finals_stay(recording: Path) -> None:
    printed = shown(recording, is_terminal=True)
    draft = re.search(r"\x1b\[2;3m(\w.*?\w+)", printed)
    assert draft is not None
    assert ERASED in printed[draft.end() :]
    (final,) = re.findall(r"(00:0\d\.\d)-(00:0\d\.\d)  (\w.+)\.\r?\n", printed)
    assert "00:00.3" < final[0] < final[1] < "00:02.3"
    assert printed.endswith(ERASED)  # nothing but final captions remains
    assert re.search(r"level .* dB", printed)
    assert re.search(r"(neutral|calm) .* 0\.\d\d", printed)


def test_pipe_gets_final_captions_alone(recording: Path) -> None:
    assert re.fullmatch(r"00:0\d\.\d-00:0\d\.\d  \w.+\.\n", shown(recording, is_terminal=False))


def test_level_is_in_decibels_below_full_scale() -> None:
    class Loud:
        def start(self, deliver: Callable[[AudioChunk], None], end: object) -> Callable[[], None]:
            deliver(AudioChunk(np.full(320, 0.1, np.float32), 16_000))
            return lambda: None

    meter = microphone_view.LevelMeter(Loud())
    assert meter.level_db == microphone_view.QUIETEST_DB
    meter.start(lambda chunk: None, lambda error: None)
    assert meter.level_db == pytest.approx(-20, abs=0.1)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match=r"none\.wav"):
        shown(tmp_path / "none.wav", is_terminal=False)
