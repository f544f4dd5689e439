"""The advice on a decision: what would change it."""

from __future__ import annotations

import pytest
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.reports.decisions import Advice


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (ReasonCode.NO_GAIN_EXPECTED, "a lower min_gain would send it"),
        (ReasonCode.ANSWER_TOO_LATE, "raise verifier.deadline_s, verifier.caption_deadline_s"),
    ],
)
def test_kept_question_has_advice(code: ReasonCode, advice: str) -> None:
    reason = Reason(code=code, value=3.0, threshold=2.0)
    kept = JournalRow(
        time_s=0, user="ada", caption=bytes(16), start=0, tokens=2, uncertainty=0.5,
        outcome=Outcome.LOCAL, reason=reason,
    )  # fmt: skip
    assert advice in Advice.on(kept, 0).text
