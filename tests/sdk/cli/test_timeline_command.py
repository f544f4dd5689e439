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
        (["--out", "call.mp4"], "names no known format: add --format"),
        (["--format", "png"], "add --out FILE.png"),
        (["--force"], "--force goes with --out"),
        (["--channels", "a,b,c"], "2 channels, and 3 names"),
        (["--offline", "--verifier", "embedded"], "leave out"),
    ],
)
def test_wrong_usage_says_what_to_do(
    recording: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", str(recording), *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_nothing_is_overwritten_unasked(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recording.read_bytes()
    linked = tmp_path / "call.csv"
    linked.hardlink_to(recording)
    there = tmp_path / "there.csv"
    there.write_text("kept")
    for options, message in (
        (["--out", str(there)], "exists: name another file, or add --force"),
        (["--out", str(linked), "--force"], "is the recording: give another file to --out"),
        (["--checkpoint", str(linked)], "is the recording: give another file to --checkpoint"),
        (["--out", str(tmp_path), "--format", "csv"], "is a folder"),
        (["--out", "new.csv", "--checkpoint", "./new.csv"], "is the checkpoint"),
    ):
        assert main(["timeline", str(recording), *options]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert there.read_text() == "kept"
    assert recording.read_bytes() == before
    assert main(["timeline", str(recording), "--out", str(there), "--force"]) == 0
    assert there.read_text().startswith("start_s")


def test_a_timeline_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeline", "-"]) == 2
    assert "save standard input to one" in " ".join(capsys.readouterr().err.split())


def test_mono_is_noted_only_if_asked(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mono, out = tmp_path / "mono.wav", tmp_path / "mono.txt"
    soundfile.write(mono, soundfile.read(recording)[0][:64_000, 0], 16_000)
    assert main(["timeline", str(mono), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 1 utterance\n"
    assert "one channel" not in out.read_text()
    assert main(["timeline", str(mono), "--channels", "apart"]) == 0
    assert "one channel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupted_command_continues(
    number: int, code: int, recording: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "call.checkpoint"
    script = (
        "import os, signal, sys\n"
        "from ugsd_sdk.timelines.checkpoint import Checkpoint\n"
        "add = Checkpoint.add\n"
        "def interrupted(self, entry):\n"
        "    add(self, entry)\n"
        "    os.kill(os.getpid(), int(sys.argv[1]))\n"
        "Checkpoint.add = interrupted\n"
        "from ugsd_sdk.cli import main\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    command = ["timeline", str(recording), "--checkpoint", str(checkpoint)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(number)), *command],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == code
    assert f"run the same command to continue from {checkpoint}" in done.stderr
    assert len(checkpoint.read_text().splitlines()) == 2
    assert main(command) == 0
    assert [json.loads(line)["channel"] for line in checkpoint.read_text().splitlines()[1:]] == [
        0, 1, 0, 1,
    ]  # fmt: skip
