"""``ugsd timeline``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from ugsd_sdk import Timeline
from ugsd_sdk.cli import main

from tests.doubles.calls_on_tape import call_of


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "call.flac"
    soundfile.write(path, call_of(2), 16_000)
    return path


def test_text_has_utterances_and_summaries(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", str(recording), "--channels", "agent,customer"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("  agent: ") == printed.count("  customer: ") == 2
    assert "of the talk" in printed


def test_formats_go_to_standard_output(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, beginning in (("json", "{"), ("vtt", "WEBVTT"), ("svg", "<svg"), ("csv", "start_s")):
        assert main(["timeline", str(recording), "--format", form]) == 0
        assert capsys.readouterr().out.startswith(beginning)


def test_the_suffix_says_what_is_written(recording: Path, tmp_path: Path) -> None:
    for name in ("call.json", "call.png", "call.txt", "call.srt"):
        assert main(["timeline", str(recording), "--out", str(tmp_path / name)]) == 0
    assert len(Timeline.from_json((tmp_path / "call.json").read_text()).channels) == 2
    assert (tmp_path / "call.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "call.mp4"], "add --format"),
        (["--format", "png"], "name a file"),
        (["--channels", "a,b,c"], "2 channels, and 3 names"),
        (["--offline", "--verifier", "embedded"], "leave out"),
    ],
)
def test_wrong_usage_says_what_to_do(
    recording: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", str(recording), *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_interrupted_command_continues(recording: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "call.checkpoint"
    code = (
        "import os, signal, sys\n"
        "from ugsd_sdk.timelines.checkpoint import Checkpoint\n"
        "add = Checkpoint.add\n"
        "def interrupted(self, entry):\n"
        "    add(self, entry)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "Checkpoint.add = interrupted\n"
        "from ugsd_sdk.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["timeline", str(recording), "--checkpoint", str(checkpoint)]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGINT
    assert f"run the same command to continue from {checkpoint}" in done.stderr
    assert len(checkpoint.read_text().splitlines()) == 2
    assert main(command) == 0
    assert [json.loads(line)["channel"] for line in checkpoint.read_text().splitlines()[1:]] == [
        0, 1, 0, 1,
    ]  # fmt: skip
