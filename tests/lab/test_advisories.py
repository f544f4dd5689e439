"""``make audit`` distinguishes "no known vulnerability" from "no service could be queried"."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from ugsd_lab.cli import advisories
from ugsd_lab.cli.advisories import main

CLEAN = {"name": "rich", "version": "15.0.0", "vulns": []}
FAULTY = {
    "name": "pyyaml", "version": "6.0.4",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["6.0.5"]}],
}  # fmt: skip
UNKNOWN = {"name": "numpy", "skip_reason": "not found"}


def answer_with(monkeypatch: pytest.MonkeyPatch, *lines: dict[str, Any], **changes: Any) -> None:
    fields = {"args": [], "returncode": 0, "stdout": json.dumps({"dependencies": lines}),
              "stderr": ""} | changes  # fmt: skip
    done = subprocess.CompletedProcess[str](**fields)
    monkeypatch.setattr(advisories.subprocess, "run", lambda *_, **__: done)


@pytest.mark.parametrize(
    ("lines", "code", "printed"),
    [
        ([CLEAN], 0, "1 versions checked, 0 vulnerabilities"),
        ([CLEAN, FAULTY], 1, "pyyaml 6.0.4: PYSEC-1; fixed in 6.0.5"),
        ([CLEAN, UNKNOWN], 3, "NOT AUDITED: numpy"),
        ([FAULTY, UNKNOWN], 1, "NOT AUDITED: numpy"),
        ([UNKNOWN], 3, "no advisory service could be queried"),
        ([], 3, "no advisory service could be queried"),
    ],
)
def test_vulnerable_and_unchecked_packages_are_distinguished(
    lines: list[dict[str, Any]],
    code: int,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer_with(monkeypatch, *lines)
    assert main(["base.lock"]) == code
    assert printed in capsys.readouterr().out


def test_network_failure_is_not_a_vulnerability(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(
        monkeypatch, returncode=1, stdout="", stderr="Traceback\nConnectionError: no route\n"
    )
    assert main(["base.lock"]) == 3
    assert "could be queried: ConnectionError: no route" in capsys.readouterr().out
