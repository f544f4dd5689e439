"""What writing the journal costs a caption."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.ledger.journal import MAX_JOURNAL_ROWS
from ugsd_privacy.reasons import Reason, ReasonCode
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
