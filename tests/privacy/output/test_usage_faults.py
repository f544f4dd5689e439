"""Usage errors are in plain words, whatever the library that found them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.output.usage_faults import plain_fault
from ugsd_sdk.cli import main as ugsd
from ugsd_server.cli import main as server

Capsys = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "budget reset --window week",
            "'--window': must be hour, day, lifetime or all, not 'week'",
        ),
        ("audit report --format pdf", "'--format': must be html, json or md, not 'pdf'"),
        ("audit erase --before 1h", "'--before': must be a date such as 2026-01-31, not '1h'"),
        ("audit erase --older-than x", "'--older-than': must be a whole number"),
        ("audit erase --older-than -1", "'--older-than': must be 0 or more"),
        ("audit receipt x", "'INDEX': must be a whole number"),
        ("audit receipt -- -1", "'INDEX': must be 0 or more"),
    ],
)
def test_option_fault_is_plain(command: str, message: str, capsys: Capsys) -> None:
    assert ugsd(command.split()) == 2
    assert f"Error: Invalid value for {message}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("port", "message"), [("70000", "must be 65535 or less"), ("x", "must be a whole number")]
)
def test_port_fault_is_plain(
    port: str, message: str, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server(["--port", port]) == 2
    assert capsys.readouterr().err.endswith(f"Error: Invalid value for '--port': {message}\n")
    monkeypatch.setenv("UGSD_SERVER_PORT", port)
    assert server(["--key-file", str(tmp_path / "key")]) == 2
    assert capsys.readouterr().err == f"ugsd-server: --port (or UGSD_SERVER_PORT): {message}\n"


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("'x' is not a valid integer range.", "must be a whole number, not 'x'"),
        ("70000 is not in the range 0<=x<=65535.", "must be from 0 to 65535, not 70000"),
        ("-1 is not in the range x>=0.", "must be 0 or more, not -1"),
        ("'x' is not one of 'a', 'b'.", "must be a or b, not 'x'"),
        ("Value error, no such user", "no such user"),
        ("Input should be a valid dictionary", "must be a valid dictionary"),
        ("Missing option '--key-file'.", "Missing option '--key-file'."),
    ],
)
def test_words_of_each_library_are_replaced(message: str, plain: str) -> None:
    assert plain_fault(message) == plain
