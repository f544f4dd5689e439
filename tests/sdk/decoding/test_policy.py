"""The decisions of each policy."""

from __future__ import annotations

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    NeverEscalate,
    UncertaintyPolicy,
)

BLOCK = BlockView(start=0, tokens=(1, 2), uncertainties=(0.1, 0.6), verifier_has_summary=False)


def test_block_is_sent_up_to_first_uncertain_token() -> None:
    assert UncertaintyPolicy(0.6)(BLOCK, BudgetView()) == Escalate(Disclosure.SUMMARY, 2)
    assert UncertaintyPolicy(0.61)(BLOCK, BudgetView()) == KeepLocal()
    assert UncertaintyPolicy(0.0)(BLOCK, BudgetView()) == Escalate(Disclosure.SUMMARY, 1)


def test_whole_block_on_request_or_without_state() -> None:
    without_state = UncertaintyPolicy(0.1, Disclosure.TOKENS)(BLOCK, BudgetView())
    assert without_state == Escalate(Disclosure.TOKENS)
    policy = UncertaintyPolicy(0.1, whole_block=True)
    assert policy(BLOCK, BudgetView()) == Escalate(Disclosure.SUMMARY)
    assert UncertaintyPolicy(0.7, whole_block=True)(BLOCK, BudgetView()) == KeepLocal()


def test_policies_that_ignore_doubt_decide_alike() -> None:
    assert isinstance(AlwaysEscalate()(BLOCK, BudgetView()), Escalate)
    assert isinstance(NeverEscalate()(BLOCK, BudgetView()), KeepLocal)


def test_budget_is_read_once_and_only_if_used() -> None:
    reads = []
    view = BudgetView(lambda: reads.append(1) or {"blocks_per_day": 3.0})  # type: ignore[func-returns-value]
    UncertaintyPolicy(0.5)(BLOCK, view)
    assert not reads
    assert view.remaining["blocks_per_day"] == view.remaining["blocks_per_day"] == 3
    assert len(reads) == 1


def test_decision_has_reason_that_equality_ignores() -> None:
    kept, sent = (
        UncertaintyPolicy(0.61)(BLOCK, BudgetView()),
        UncertaintyPolicy(0.6)(BLOCK, BudgetView()),
    )
    assert str(kept.reason) == "sure: 0.6 below 0.61"
    assert str(sent.reason) == "unsure: 0.6 reaches 0.6"
    assert kept == KeepLocal("for another reason")
    assert NeverEscalate("offline")(BLOCK, BudgetView()).reason == "offline"
