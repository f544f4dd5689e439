"""``ugsd audit`` as it is typed, and what is carried between a home and a witness."""

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


class Carrier:
    """Carries requests and answers between a home and a witness, as files."""

    def __init__(self, folder: Path, log_key: str, out: Out) -> None:
        self.request, self.response = folder / "ask", folder / "answer"
        self._state, self._log_key, self._out = folder / "witness", log_key, out
        folder.mkdir(exist_ok=True)
        self.key = ""

    def witnessed(self) -> int:
        return audit(
            "witness", "--state", self._state, "--log-key", self._log_key,
            "--request", self.request, "--response", self.response,
        )  # fmt: skip

    def learn_key(self) -> None:
        self._out.readouterr()
        assert audit("witness", "--state", self._state) == 0
        self.key = self._out.readouterr().out.strip().split(": ")[1]

    def asking(self, key: str | None = None) -> list[str | Path]:
        return ["cosign", "--witness-key", key or self.key, "--request", self.request]

    def taking(self) -> list[str | Path]:
        return [*self.asking(), "--response", self.response]


def leave_from(home: Path) -> None:
    """Eight more passages of a home: resets, which need no verifier."""
    user_egress = UserEgress(Home.from_path(home), BudgetLimits(), "ada")
    egress = user_egress.open()
    for _ in range(8):
        egress.reset(["day"])
    user_egress.close()
