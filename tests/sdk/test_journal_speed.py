"""What writing the journal costs a caption, and what pricing a question does."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.ledger.journal import MAX_JOURNAL_ROWS
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.decoding.budget_pacing import BudgetPacer
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.decoding.events import BlockOutcome, Outcome
from ugsd_sdk.home import Home, UserEgress


def test_journal_write_takes_less_than_a_millisecond(tmp_path: Path) -> None:
    user_egress = UserEgress(Home.from_path(tmp_path), BudgetLimits(), "ada")
    reason = Reason(code=ReasonCode.ABOVE_THRESHOLD, value=0.5, threshold=0.3)
    blocks = [BlockOutcome(5 * i, 5, 0.5, Outcome.SENT, reason) for i in range(5)]
    user_egress.open()
    seconds = []
    for number in range(200):
        started_s = time.perf_counter()
        user_egress.write_journal(number.to_bytes(16), blocks)
        seconds.append(time.perf_counter() - started_s)
    user_egress.close()
    assert np.median(seconds) < 1e-3
    with Ledger(tmp_path / "ledger", create=False) as ledger, ledger.reading() as view:
        assert len(view.journal("ada", limit=MAX_JOURNAL_ROWS)) == 1000


def test_pricing_a_question_takes_few_milliseconds(tmp_path: Path) -> None:
    limits = BudgetLimits(blocks_per_day=10, tokens_per_day=100)
    user_egress = UserEgress(Home.from_path(tmp_path), limits, "ada")
    budget, pacer = user_egress.open().budget, BudgetPacer()
    cost = Usage(blocks=1, tokens=5, frames=1, bytes=128)
    reason = Reason(code=ReasonCode.BELOW_PRICE, worth=0.4, price=0.5, cost=cost.counts)
    user_egress.write_journal(bytes(16), [BlockOutcome(0, 5, 0.5, Outcome.LOCAL, reason)] * 2000)
    seconds = []
    for number in range(100):
        started_s = time.perf_counter()
        standing = budget.standing(None, questions_after=pacer.last_row)
        quote = pacer.quote(Question(0.4, cost), standing)
        seconds.append(time.perf_counter() - started_s)
        assert quote.price > 0
        user_egress.write_journal(
            number.to_bytes(16), [BlockOutcome(0, 5, 0.5, Outcome.LOCAL, reason)]
        )
    user_egress.close()
    assert np.median(seconds) < 1e-2
