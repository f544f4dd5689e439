"""Names that a console's encoding does not have are escaped, and cost no command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_privacy.output.plain_text import encodable
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.users.models import Models

from tests.doubles.speech import recorded_speech

USER, CLIP = "ада", "наш.wav"
COMMANDS: dict[str, list[str]] = {
    "caption": ["caption", CLIP, "--user", USER],
    "caption json": ["caption", "--json", CLIP, "--user", USER],
    "caption details": ["caption", "--json", "--details", CLIP, "--user", USER],
    "caption csv": ["caption", "--format", "csv", CLIP],
    "caption srt": ["caption", "--format", "srt", CLIP],
    "caption to file": ["caption", CLIP, "--out", "вон.jsonl", "--user-from", "file"],
    "caption to folder": ["caption", CLIP, "--format", "vtt", "--out", "вон/"],
    "listen": ["listen", CLIP, "--user", USER],
    "timeline": ["timeline", CLIP, "--channels", "голос"],
    "timeline json": ["timeline", CLIP, "--format", "json"],
    "timeline svg": ["timeline", CLIP, "--format", "svg"],
    "caption of no file": ["caption", "нет.wav"],
    "log": ["audit", "show"],
    "log content": ["audit", "show", "--content"],
    "log json": ["audit", "show", "--json"],
    "verify": ["audit", "verify"],
    "verify no file": ["audit", "verify", "нет.ugsd"],
    "export": ["audit", "export", "вон.ugsd"],
    "report": ["audit", "report", "--user", USER, "--format", "md"],
    "report page": ["audit", "report", "--user", USER, "--format", "html"],
    "fleet": ["audit", "fleet", "нет.json"],
    "erase": ["audit", "erase", "--before", "1h", "--yes"],
    "budget": ["budget", "show", "--user", USER],
    "budget json": ["budget", "show", "--user", USER, "--json"],
    "caps": ["budget", "set", "tokens_per_day=9", "--user", USER],
    "explain": ["budget", "explain", "--user", USER],
    "reset": ["budget", "reset", "--user", USER, "--yes"],
    "profile": ["profile", "show", "--user", USER],
    "no profile": ["profile", "delete", "--user", "нет", "--yes"],
    "privacy": ["privacy", "explain", "--user", USER],
    "settings": ["budget", "show", "--config", "нет.toml"],
    "usage": ["budget", USER],
}


@pytest.fixture
def used(
    new_captioner: Any,
    voice: NDArray[np.float32],
    drafter: ScriptedDrafter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A home of a user with a Cyrillic name, from which a caption was sent."""
    with new_captioner(user=USER) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))
    soundfile.write(tmp_path / CLIP, voice, 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UGSD_LIMITS__TOKENS_PER_DAY", "100")
    return tmp_path / "home"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("command", COMMANDS)
def test_narrow_console_costs_no_command(
    command: str, encoding: str, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("UGSD_HOME", str(used))
    code = main(COMMANDS[command])
    stream.flush()
    assert code in {0, 1, 2}
    if command in {"caption", "log", "budget"}:
        name = CLIP if command == "caption" else USER
        assert encodable(name, encoding).encode() in shown.getvalue()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_asked_name_is_escaped(encoding: str, used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stdin", _Typed("y\n"))
    assert main(["budget", "reset", "--home", str(used), "--user", USER]) == 0
    stream.flush()
    assert encodable(USER, encoding).encode() in shown.getvalue()


class _Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


_ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "dumb": {"TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"},
}
_BUNDLED = Path(__file__).parents[3] / "sdk" / "ugsd_sdk" / "starter" / "clips"


@pytest.mark.parametrize(
    ("kind", "name"), [("csv", "cp1252"), ("vtt", "ascii"), ("srt", "C"), ("jsonl", "ascii")]
)
def test_timelines_are_utf8_on_each_console(kind: str, name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / CLIP, np.stack([recorded_speech(2.0)] * 2, 1) * [1, 0.01], 16_000)
    done = subprocess.run(
        [sys.executable, "-m", "ugsd_sdk", "timeline", CLIP, "--format", kind],
        cwd=tmp_path, env=os.environ | _ENVIRONMENTS[name], capture_output=True, check=True,
    )  # fmt: skip
    if kind == "jsonl":
        assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [CLIP]
        return
    assert CLIP in done.stdout.decode() or kind == "srt"
    lines = done.stdout.splitlines(keepends=True)
    assert len({line.endswith(b"\r\n") for line in lines}) == 1
    assert lines[0].endswith(b"\r\n") == (kind in {"csv", "srt"})


@pytest.mark.parametrize(
    ("kind", "name"),
    [("text", "C"), ("text", "dumb"), ("jsonl", "ascii"), ("csv", "cp1252"), ("vtt", "C")],
)
def test_files_are_utf8_on_each_console(kind: str, name: str, tmp_path: Path) -> None:
    clip = "на é 🎤.opus"
    (tmp_path / clip).symlink_to(next(_BUNDLED.glob("*.opus")))
    environment = os.environ | _ENVIRONMENTS[name]

    def output(*options: str) -> bytes:
        command = [sys.executable, "-m", "ugsd_sdk", "caption", "--format", kind, ".", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    printed = output()
    if kind == "text":
        assert b".opus" in printed
        assert b"\x1b" not in printed
        return
    assert clip in (json.loads(printed)["path"] if kind == "jsonl" else printed.decode())
    if kind == "csv":
        assert output("--out", "out.csv") == b""
        assert clip in (tmp_path / "out.csv").read_text("utf-8")
