"""Runs ``ugsd audit``, and exchanges files between a home and a witness."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_sdk.cli import main
from ugsd_sdk.home import Home, UserEgress

Out = pytest.CaptureFixture[str]


def audit(*arguments: str | Path, home: Path | None = None) -> int:
    place = [] if home is None else ["--home", str(home)]
    return main(["audit", *map(str, arguments), *place])


class FileExchange:
    """Requests and answers between a home and a witness, as files."""

    def __init__(self, folder: Path, log_key: str, out: Out) -> None:
        self.request, self.response = folder / "ask", folder / "answer"
        self._state, self._log_key, self._out = folder / "witness", log_key, out
        folder.mkdir(exist_ok=True)
        self.key = ""

    def run_witness(self) -> int:
        return audit(
            "witness", "--state", self._state, "--log-key", self._log_key,
            "--request", self.request, "--response", self.response,
        )  # fmt: skip

    def read_key(self) -> None:
        self._out.readouterr()
        assert audit("witness", "--state", self._state) == 0
        self.key = self._out.readouterr().out.strip()

    def request_command(self, key: str | None = None) -> list[str | Path]:
        return ["cosign", "--witness-key", key or self.key, "--request", self.request]

    def response_command(self) -> list[str | Path]:
        return [*self.request_command(), "--response", self.response]


def add_records(home: Path) -> None:
    """Add eight records to a home's log: resets, which need no verifier."""
    user_egress = UserEgress(Home.from_path(home), BudgetLimits(), "ada")
    acts = user_egress.open().acts
    for _ in range(8):
        acts.reset(["day"])
    user_egress.close()
