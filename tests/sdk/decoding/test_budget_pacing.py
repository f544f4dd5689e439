"""The paced policy: which questions it keeps and asks, and what it says about both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.ledger import NO_QUESTIONS, BudgetStanding, Questions
from ugsd_privacy.protocol.messages import AskedSlot, Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.reasons import Reason, ReasonCode
from ugsd_sdk.decoding.budget_pacing import BudgetPacer, PacedPolicy
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    EnrolmentGuard,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.question_cost import QuestionCost

COST = Usage(blocks=1, tokens=4, frames=1, bytes=128)
NOON_S = 20_000 * 86_400 + 43_200.0
LIMITS = BudgetLimits.without_caps(blocks_per_day=10)


def block(worth: float) -> BlockView:
    return BlockView(0, (1, 2, 3, 4), (None, None, None, worth), verifier_has_summary=False)


def asked_before(count: int) -> Questions:
    """Questions of the last hour that were worth 0.00 to 0.99 in turn."""
    latest = [(n % 100 / 100, COST.counts) for n in range(count)]
    hour = int(NOON_S // 3600)
    return Questions(latest, {hour: count}, int(NOON_S) - 1800, count)


def decide(policy: PacedPolicy, worth: float, standing: BudgetStanding) -> KeepLocal | Escalate:
    pacer = BudgetPacer()
    return policy(block(worth), BudgetView(quote=lambda one: pacer.quote(one, standing)))


def paced() -> PacedPolicy:
    return PacedPolicy(UncertaintyPolicy(0.1), lambda *_: COST)


def scarce(used: int = 0) -> BudgetStanding:
    return BudgetStanding(LIMITS, {"day": Usage(blocks=used)}, NOON_S, asked_before(200))


def test_scarce_budget_is_kept_for_better_questions() -> None:
    policy = paced()
    kept, sent = decide(policy, 0.5, scarce()), decide(policy, 0.999, scarce())
    assert isinstance(kept, KeepLocal)
    assert isinstance(sent, Escalate)
    assert isinstance(kept.reason, Reason)
    assert isinstance(sent.reason, Reason)
    assert kept.reason.code is ReasonCode.BELOW_PRICE
    assert (kept.reason.worth, kept.reason.cap) == (0.5, "blocks_per_day")
    assert 0.9 < (kept.reason.price or 0) < 1
    assert str(kept.reason).startswith("budget kept for better questions: worth 0.5, price 0.9")
    assert sent.reason.code is ReasonCode.ABOVE_THRESHOLD
    assert sent.reason.cost == COST.counts


def test_ample_budget_changes_no_decision() -> None:
    ample = BudgetStanding(BudgetLimits(), {}, NOON_S, asked_before(200))
    for worth in (0.05, 0.1, 0.5):
        plain = UncertaintyPolicy(0.1)(block(worth), BudgetView())
        found = decide(paced(), worth, ample)
        assert found == plain
        if isinstance(found, Escalate):
            assert isinstance(found.reason, Reason)
            assert found.reason.price == 0
            assert found.reason.cap is None


def test_few_questions_have_no_price() -> None:
    few = BudgetStanding(LIMITS, {}, NOON_S, asked_before(5))
    assert isinstance(decide(paced(), 0.11, few), Escalate)


def test_exhausted_cap_refuses_by_itself() -> None:
    """The egress names the cap and what would help, which a price does not."""
    assert isinstance(decide(paced(), 0.2, scarce(used=10)), Escalate)


def test_price_rises_as_the_budget_is_used() -> None:
    limits = BudgetLimits.without_caps(blocks_per_day=500)
    prices = [
        BudgetPacer()
        .quote(
            Question(0.5, COST),
            BudgetStanding(limits, {"day": Usage(blocks=used)}, NOON_S, asked_before(200)),
        )
        .price
        for used in range(0, 500, 50)
    ]
    assert prices == sorted(prices)
    assert 0 < prices[0] < prices[-1]


def test_hour_and_day_both_count() -> None:
    limits = BudgetLimits.without_caps(blocks_per_hour=2, blocks_per_day=5000)
    late_s = NOON_S + 60.0
    standing = BudgetStanding(limits, {}, late_s, asked_before(200))
    quote = BudgetPacer().quote(Question(0.5, COST), standing)
    assert quote.cap == "blocks_per_hour"
    (hour, day) = BudgetPacer().prices(standing)
    assert hour.price > 0.9 > day.price == 0


@pytest.mark.parametrize("window", ["caption", "recording", "lifetime"])
def test_windows_of_unknown_end_have_no_price(window: str) -> None:
    limits = BudgetLimits.without_caps(**{f"blocks_per_{window}": 1})
    standing = BudgetStanding(limits, {}, NOON_S, asked_before(200))
    assert BudgetPacer().quote(Question(0.5, COST), standing).price == 0
    assert BudgetPacer().prices(standing) == []


def test_unreadable_ledger_does_not_stop_questions() -> None:
    assert isinstance(paced()(block(0.5), BudgetView()), Escalate)


def test_guard_is_asked_before_the_price() -> None:
    policy = PacedPolicy(EnrolmentGuard(UncertaintyPolicy(0.1)), lambda *_: COST)
    assert decide(policy, 0.5, scarce()) == KeepLocal(ReasonCode.NOT_ENROLLED)


def test_infinite_uncertainty_has_a_finite_worth() -> None:
    found = decide(paced(), float("inf"), scarce())
    assert isinstance(found, Escalate)
    assert isinstance(found.reason, Reason)
    assert found.reason.worth == 1


def test_erased_questions_are_forgotten() -> None:
    """Rows of the journal get lower numbers again after the owner erased the last ones."""
    pacer = BudgetPacer()
    (before,) = pacer.prices(scarce())
    assert before.price > 0
    standing = replace(scarce(), questions=asked_before(5))
    pacer.prices(standing)
    assert pacer.last_row == 0, "what remains is read again"
    (after,) = pacer.prices(standing)
    assert after.price == 0, "five questions make no price"


def test_emptied_journal_is_read_from_its_start() -> None:
    pacer = BudgetPacer()
    pacer.quote(Question(0.5, COST), scarce())
    assert pacer.last_row == 200
    pacer.quote(Question(0.5, COST), BudgetStanding(LIMITS, {}, NOON_S, NO_QUESTIONS))
    assert pacer.last_row == 0


@pytest.mark.parametrize("disclosure", [d for d in Disclosure if d != "distributions"])
def test_constant_shape_charges_no_frame(disclosure: Disclosure) -> None:
    padded = QuestionCost(4, AskedSlot.EMOTION)(block(0.5), Escalate(disclosure))
    constant = QuestionCost(4, AskedSlot.EMOTION, traffic_shape=TrafficShape.CONSTANT)(
        block(0.5), Escalate(disclosure)
    )
    assert padded is not None
    assert constant is not None
    assert (padded.frames, padded.bytes, padded.tokens) == (1, 128, 4)
    assert (constant.frames, constant.bytes, constant.tokens) == (0, 0, 4)
    assert constant.privacy_cost == padded.privacy_cost


def test_question_that_fits_no_frame_has_no_cost() -> None:
    long = BlockView(0, (), (0.5,) * 300, verifier_has_summary=False)
    assert QuestionCost(256)(long, Escalate(Disclosure.ALL_STATES)) is None
