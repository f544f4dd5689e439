"""Output of native code never mixes with a command's own standard output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.output.standard_output import reserved_stdout

_CLIP = next((Path(__file__).parents[3] / "sdk" / "ugsd_sdk" / "starter" / "clips").glob("*.opus"))
_PLANTED = """
import ctypes, os, sys
import soundfile

class Printing(soundfile.SoundFile):
    def read(self, *given, **named):
        ctypes.CDLL(None).printf(b"native, buffered\\n")
        os.write(1, b"native, unbuffered\\n")
        return super().read(*given, **named)

soundfile.SoundFile = Printing
from ugsd_sdk.cli import main
code = main(sys.argv[1:])
print("after")
sys.exit(code)
"""


def _planted(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", _PLANTED, *map(str, arguments)]
    return subprocess.run(command, check=False, **({"capture_output": True} | options))


def test_native_prints_do_not_mix_with_json(tmp_path: Path) -> None:
    done = _planted("caption", "--json", "--offline", "--home", tmp_path, _CLIP)
    assert done.returncode == 0, done.stderr
    caption, after = done.stdout.decode().splitlines()
    assert json.loads(caption)["text"]
    assert after == "after"  # the caller has its standard output again
    assert b"native, buffered" in done.stderr
    assert b"native, unbuffered" in done.stderr


def test_native_prints_do_not_mix_with_announcement(tmp_path: Path) -> None:
    code = _PLANTED.replace("ugsd_sdk.cli", "ugsd_server.cli").replace(
        "soundfile.SoundFile = Printing",
        "import onnxruntime\nold = onnxruntime.InferenceSession\n"
        "def session(*given, **named):\n"
        "    ctypes.CDLL(None).printf(b'native\\n'); os.write(1, b'native\\n')\n"
        "    return old(*given, **named)\n"
        "onnxruntime.InferenceSession = session\n",
    )
    options = ["--port", "0", "--key-file", tmp_path / "key", "--create-key", "--announce"]
    command = [sys.executable, "-c", code, *map(str, options), "--exit-with-stdin"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    announced, after = done.stdout.decode().splitlines()
    assert json.loads(announced)["url"].startswith("ws://")
    assert after == "after"
    assert done.stderr.count(b"native\n") == 2


def test_closed_stderr_hides_native_prints(tmp_path: Path) -> None:
    done = _planted(
        "caption", "--json", "--offline", "--home", tmp_path, _CLIP,
        stderr=None, stdout=subprocess.PIPE, capture_output=False,
        preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert [line[:1] for line in done.stdout.splitlines()] == [b"{", b"a"]


def test_replaced_stdout_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    with reserved_stdout():
        assert sys.stdout is own


def test_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ugsd_sdk", "caption", "--offline", "--home", str(tmp_path)]
    done = subprocess.run([*command, str(_CLIP)], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


_COMMANDS: dict[str, tuple[str, ...]] = {
    "version": ("ugsd_sdk", "--version"),
    "help": ("ugsd_sdk", "--help"),
    "caption": ("ugsd_sdk", "caption", "--offline", str(_CLIP)),
    "caption csv": ("ugsd_sdk", "caption", "--format", "csv", "--offline", str(_CLIP)),
    "listen": ("ugsd_sdk", "listen", "--offline", str(_CLIP)),
    "completion": ("ugsd_sdk", "completion", "zsh"),
    "caption json": ("ugsd_sdk", "caption", "--json", "--offline", str(_CLIP)),
    "log": ("ugsd_sdk", "audit", "show"),
    "report": ("ugsd_sdk", "audit", "report"),
    "verify": ("ugsd_sdk", "audit", "verify"),
    "privacy": ("ugsd_sdk", "privacy", "explain"),
    "budget json": ("ugsd_sdk", "budget", "show", "--json"),
    "root": ("ugsd_server", "root", "--key-file", "root.key"),
}


def _run(command: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    module, *arguments = _COMMANDS[command]
    environment = os.environ | {"UGSD_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder, env=environment, stderr=subprocess.PIPE, check=False, **options,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", _COMMANDS)
def test_full_stdout_is_reported(command: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _run(command, tmp_path, stdout=full)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "cannot write to standard output: No space left on device" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.skipif(os.name != "posix", reason="no preexec_fn")
@pytest.mark.parametrize("command", _COMMANDS)
def test_closed_stdout_is_no_error(command: str, tmp_path: Path) -> None:
    done = _run(command, tmp_path, preexec_fn=lambda: os.close(1))
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
