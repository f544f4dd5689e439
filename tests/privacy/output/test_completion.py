"""Shells complete the names of commands, options and choices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ugsd_lab.cli import main as lab
from ugsd_privacy.output.completion import Shell
from ugsd_sdk.cli import main as ugsd
from ugsd_server.cli import main as server

Main = Callable[[Sequence[str]], int]
PROGRAMS = {"ugsd": ugsd, "ugsd-server": server, "ugsd-lab": lab}


@pytest.mark.parametrize("shell", Shell)
@pytest.mark.parametrize("program", PROGRAMS)
def test_script_is_printed(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAMS[program](["completion", shell]) == 0
    script = capsys.readouterr().out
    assert program in script
    assert f"_{program.replace('-', '_').upper()}_COMPLETE" in script


def test_other_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ugsd(["completion", "csh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        ("ugsd", ["cap"], {"caption"}),
        ("ugsd", ["caption", "--len"], {"--length"}),
        ("ugsd", ["caption", "--length", ""], {"short", "normal", "rich"}),
        ("ugsd", ["profile", "show", "--user", ""], set()),
        ("ugsd-server", ["key"], {"keygen"}),
    ],
)
def test_bash_completes(program: str, words: list[str], expected: set[str], tmp_path: Path) -> None:
    module = {"ugsd": "ugsd_sdk", "ugsd-server": "ugsd_server"}[program]
    wrapper = tmp_path / program
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
    wrapper.chmod(0o755)
    line = " ".join(f"'{word}'" for word in [program, *words])
    name = f"_{program.replace('-', '_')}_completion"
    script = f"""
        source <({program} completion bash)
        COMP_WORDS=({line}); COMP_CWORD={len(words)}
        {name} {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected
