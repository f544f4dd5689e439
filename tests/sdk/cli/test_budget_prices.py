"""Prices in words: what a question was worth, and what a cap's last units are worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.events import BlockOutcome, Outcome
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.reports.budget import budget_report
from ugsd_sdk.settings.config import Settings

Capsys = pytest.CaptureFixture[str]
NOON_S = 20_000 * 86_400 + 43_200.0
COST = Usage(blocks=1, tokens=1, frames=1, bytes=128, privacy_cost=4 * 10**9)
UNSURE = Reason(
    code=ReasonCode.ABOVE_THRESHOLD,
    value=0.6,
    threshold=0.4,
    worth=0.6,
    price=0.25,
    cap="bytes_per_hour",
    cost=COST.counts,
)
KEPT = Reason(
    code=ReasonCode.BELOW_PRICE, worth=0.2, price=0.25, cap="bytes_per_hour", cost=COST.counts
)
FREE = Reason(code=ReasonCode.ABOVE_THRESHOLD, worth=0.5, price=0.0, cost=COST.counts)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose journal has 300 questions of one morning, worth 0.00 to 0.99, and three more."""
    user_egress = UserEgress(
        Home.from_path(tmp_path / "home"), BudgetLimits(), "ada", clock=lambda: NOON_S - 60
    )
    user_egress.open()
    asked = [
        Reason(code=ReasonCode.ABOVE_THRESHOLD, worth=n % 100 / 100, price=0.0, cost=COST.counts)
        for n in range(300)
    ]
    user_egress.write_journal(
        bytes(16), [BlockOutcome(0, 1, 0.5, Outcome.SENT, reason) for reason in asked]
    )
    outcomes = (UNSURE, Outcome.SENT), (KEPT, Outcome.LOCAL), (FREE, Outcome.SENT)
    for number, (reason, outcome) in enumerate(outcomes, 1):
        measured = BlockOutcome(1, 9, None, Outcome.LOCAL, Reason(code=ReasonCode.MEASURED))
        user_egress.write_journal(
            bytes([number]) * 16, [BlockOutcome(0, 1, 0.5, outcome, reason), measured]
        )
    user_egress.close()
    return tmp_path / "home"


def output(capsys: Capsys, home: Path, *arguments: str) -> str:
    assert main(["budget", *arguments, "--user", "ada", "--home", str(home)]) == 0
    return capsys.readouterr().out


def test_explanation_has_worth_price_and_cost(home: Path, capsys: Capsys) -> None:
    out = output(capsys, home, "explain", "--last", "3")
    cost = "1 block, 1 token, 1 frame, 128 bytes, epsilon"
    assert f"worth 0.6; price 0.25, mostly of bytes_per_hour; cost: {cost}" in out
    assert "budget kept for better questions: worth 0.2, price 0.25 of bytes_per_hour" in out
    assert "-> raise the cap, or set budget_pacing = false" in out
    assert "worth 0.5; no price, since the budget suffices" in out
    assert out.count("cost:") == 3, "what is measured has no cost"


def test_table_has_one_line_per_question(home: Path, capsys: Capsys) -> None:
    header, *lines = output(capsys, home, "explain", "--last", "3", "--questions").splitlines()
    assert header.split()[:2] == ["time", "caption"]
    assert [line.split()[3:5] for line in lines] == [["0.6", "0.25"], ["0.2", "0.25"], ["0.5", "0"]]
    assert [line.split()[-1] for line in lines] == ["asked", "kept", "asked"]


def test_json_has_question_and_cap(home: Path, capsys: Capsys) -> None:
    lines = output(capsys, home, "explain", "--last", "3", "--json").splitlines()
    unsure, kept, free = (json.loads(line)["blocks"] for line in lines)
    assert unsure[0]["question"] == {
        "worth": 0.6,
        "price": 0.25,
        "cap": "bytes_per_hour",
        "cost": {
            "blocks": 1, "tokens": 1, "frames": 1, "bytes": 128, "privacy_cost": 4 * 10**9,
        },
        "is_asked": True,
    }  # fmt: skip
    assert not kept[0]["question"]["is_asked"]
    assert free[0]["question"]["cap"] is None
    assert unsure[1]["question"] is None


def test_no_priced_question_is_said(tmp_path: Path, capsys: Capsys) -> None:
    user_egress = UserEgress(Home.from_path(tmp_path / "home"), BudgetLimits(), "ada")
    user_egress.open()
    sure = Reason(code=ReasonCode.BELOW_THRESHOLD, value=0.1, threshold=0.4)
    user_egress.write_journal(bytes(16), [BlockOutcome(0, 1, 0.1, Outcome.LOCAL, sure)])
    user_egress.close()
    assert "no question had a price" in output(capsys, tmp_path / "home", "explain", "--questions")


def test_show_has_the_current_price(home: Path, capsys: Capsys) -> None:
    settings = Settings(home=home, user="ada", limits={"blocks_per_day": 3, "tokens_per_day": None})
    prices = {
        row.cap: row.price
        for row in budget_report(settings, clock=lambda: NOON_S, uptime=lambda: None).rows
    }
    assert 0.9 < (prices["blocks_per_day"] or 0) <= 1
    assert prices["blocks_per_caption"] is None
    unpaced = settings.model_copy(update={"budget_pacing": False})
    assert all(row.price is None for row in budget_report(unpaced).rows)
    out = output(capsys, home, "show")
    assert "price" in out.splitlines()[1]
