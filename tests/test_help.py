"""The help of ``ugsd``, ``ugsd-server`` and ``ugsd-lab`` in a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from ugsd_lab.cli import main as lab
from ugsd_sdk.cli import main as ugsd
from ugsd_server.cli import main as server

Main = Callable[[Sequence[str]], int]


def _help(main: Main, command: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


def _commands(text: str) -> list[tuple[str, str]]:
    _, _, listed = text.partition("\nCommands:\n")
    return re.findall(r"^  (\S+) +(.*)$", listed.partition("\n\n")[0], re.MULTILINE)


@pytest.mark.parametrize("main", [ugsd, server, lab])
def test_help_is_whole_and_names_its_values(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    seen, groups = 0, [()]
    while groups:
        group = groups.pop()
        text = _help(main, group, capsys)
        assert not re.search(r"^  -.*<(int|float|str|path)\b", text, re.MULTILINE), group
        assert "...}..." not in text, group
        for name, summary in _commands(text):
            assert summary, "the help must list each command on one line"
            assert not summary.endswith("..."), (group, name)
            assert len(summary) <= 60, (group, name)
            groups.append((*group, name))
            seen += 1
    assert seen > 5
