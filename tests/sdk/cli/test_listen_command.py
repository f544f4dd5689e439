"""``ugsd listen``: utterances of a pipe or a file, as text or in a format, and how it ends."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ugsd_sdk.cli import main
from ugsd_sdk.exports import TimedCaption

from tests.doubles.speech import recorded_speech
from tests.sdk.exports.subtitle_readers import read_vtt

Printed = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def utterances() -> bytes:
    """Two utterances of two seconds at 16 kHz as int16, with silence around them."""
    silence = np.zeros(24_000, np.float32)
    speech = recorded_speech(2.0)
    sound = np.concatenate([silence, speech, silence, speech, silence])
    return (sound * 32_000).astype("<i2").tobytes()


@pytest.fixture
def _piped(utterances: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(utterances)))


@pytest.mark.usefixtures("_piped")
def test_each_utterance_is_a_line(capsys: Printed) -> None:
    assert main(["listen", "--raw", "16000", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(re.match(r"00:00:0\d  [A-Z]", line) for line in lines)


@pytest.mark.usefixtures("_piped")
def test_json_holds_times_and_captions(capsys: Printed) -> None:
    assert main(["listen", "--raw", "16000", "--json", "-"]) == 0
    cues = list(map(TimedCaption.from_json, capsys.readouterr().out.splitlines()))
    assert len(cues) == 2
    assert 1 < cues[0].start_s < cues[0].end_s < cues[1].start_s
    assert all(cue.caption is not None and cue.caption.text == cue.text for cue in cues)


def test_file_becomes_subtitles(utterances: bytes, tmp_path: Path, capsys: Printed) -> None:
    clip = tmp_path / "talk.wav"
    soundfile.write(clip, np.frombuffer(utterances, "<i2"), 16_000)
    assert main(["listen", str(clip), "--format", "vtt"]) == 0
    _, cues = read_vtt(capsys.readouterr().out.encode())
    assert len(cues) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "needs --raw RATE"),
        (["--raw", "16000"], "needs standard input: add -"),
        (["a.wav", "--device", "1"], "names a microphone"),
        (["a.wav", "--json", "--format", "csv"], "--json is --format jsonl"),
    ],
)
@pytest.mark.usefixtures("_piped")
def test_wrong_usage_is_named(arguments: list[str], message: str, capsys: Printed) -> None:
    assert main(["listen", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_missing_file_is_an_error(tmp_path: Path, capsys: Printed) -> None:
    assert main(["listen", str(tmp_path / "none.wav")]) == 1
    assert "none.wav" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals and signals")
def test_terminal_shows_drafts_and_ctrl_c_ends(utterances: bytes) -> None:
    command = [sys.executable, "-m", "ugsd_sdk", "listen", "--offline", "--raw", "16000", "-"]
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "60"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as running:
        os.close(theirs)
        assert running.stdin is not None
        running.stdin.write(utterances)
        running.stdin.flush()
        shown, ends_s = b"", time.monotonic() + 60
        while len(re.findall(rb"\x1b\[2m00:00:\d\d  ", shown)) < 4:
            assert time.monotonic() < ends_s, shown
            shown += os.read(ours, 4096)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert running.stderr is not None
        assert running.stderr.read() == b""
    os.close(ours)
    assert b"\x1b[2K" in shown, "drafts are overwritten in place"
