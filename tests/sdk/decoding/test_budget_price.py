"""Prices: no cap is exceeded by what is worth its price, and an ample budget has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.budget import MEASURES, BudgetLimits, Cap, Usage, set_caps
from ugsd_privacy.dp.accounting import UNBOUNDED_COST
from ugsd_sdk.decoding.budget_price import Question, WindowCap, prices_of, quote_of

QUESTIONS = st.lists(
    st.builds(
        Question,
        st.floats(0.01, 1),
        st.builds(
            Usage,
            blocks=st.just(1),
            tokens=st.integers(1, 8),
            frames=st.just(1),
            bytes=st.sampled_from([128, 256]),
            privacy_cost=st.integers(1, 10**9),
        ),
    ),
    min_size=1,
    max_size=30,
)


def cap_of(measure: str, allowed: int = 2**40) -> Cap:
    return Cap("day", measure, allowed, allowed)


def prices(questions: list[Question], caps: list[WindowCap]) -> list[float]:
    worths = np.array([one.worth for one in questions])
    costs = np.array([[cap.cap.charge(one.cost) for cap in caps] for one in questions], float)
    return [float(price) for price in prices_of(worths, costs, caps)]


def demand(questions: list[Question], cap: Cap) -> int:
    return sum(cap.charge(one.cost) for one in questions)


@given(QUESTIONS, st.sampled_from(MEASURES), st.floats(0, 1))
def test_what_exceeds_its_price_fits(questions, measure, share) -> None:
    cap = cap_of(measure)
    remaining = share * demand(questions, cap)
    (price,) = prices(questions, [WindowCap(cap, remaining, len(questions))])
    asked = [one for one in questions if one.worth / cap.charge(one.cost) > price]
    assert demand(asked, cap) <= remaining


@given(QUESTIONS, st.sampled_from(MEASURES), st.floats(0, 0.999))
def test_price_is_the_least_that_fits(questions, measure, share) -> None:
    cap = cap_of(measure)
    remaining = share * demand(questions, cap)
    (price,) = prices(questions, [WindowCap(cap, remaining, len(questions))])
    asked = [one for one in questions if one.worth / cap.charge(one.cost) >= price]
    assert demand(asked, cap) > remaining


@given(QUESTIONS, st.floats(0.1, 100))
def test_price_is_zero_when_demand_fits(questions, per_question) -> None:
    expected = per_question * len(questions)
    caps = [
        WindowCap(cap_of(one), demand(questions, cap_of(one)) * per_question * 1.001, expected)
        for one in MEASURES
    ]
    assert prices(questions, caps) == [0] * len(caps)


@given(QUESTIONS, st.sampled_from(MEASURES), st.floats(0, 2), st.floats(0, 2))
def test_price_falls_with_what_remains(questions, measure, one, other) -> None:
    cap = cap_of(measure)
    less, more = sorted(share * demand(questions, cap) for share in (one, other))
    dear, cheap = (
        prices(questions, [WindowCap(cap, remaining, len(questions))]) for remaining in (less, more)
    )
    assert dear >= cheap


@given(QUESTIONS, st.permutations(MEASURES), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_several_caps_hold_together(questions, measures, shares) -> None:
    caps = [
        WindowCap(cap_of(one), share * demand(questions, cap_of(one)), len(questions))
        for one, share in zip(measures, shares, strict=True)
    ]
    found = prices(questions, caps)
    assert found == prices(questions, caps), "the same numbers give the same prices"
    asked = [
        one
        for one in questions
        if one.worth > sum(p * c.cap.charge(one.cost) for p, c in zip(found, caps, strict=True))
    ]
    for cap in caps:
        # The last sweep may move a price after the others were computed.
        assert demand(asked, cap.cap) <= cap.remaining * 1.5 + max(
            cap.cap.charge(one.cost) for one in questions
        )


def test_equal_questions_are_asked() -> None:
    question = Question(0.3, Usage(blocks=1, tokens=3, frames=1, bytes=128))
    caps = [WindowCap(cap_of("tokens"), 30, 100)]
    found = prices_of(np.full(100, 0.3), np.full((100, 1), 3.0), caps)
    assert quote_of(question, caps, found).is_affordable
    worse = Question(0.2, question.cost)
    quote = quote_of(worse, caps, found)
    assert not quote.is_affordable
    assert (quote.cap, quote.price) == ("tokens_per_day", pytest.approx(0.3))


def test_question_beyond_a_cap_has_no_price() -> None:
    caps = [WindowCap(cap_of("tokens", 9), 2, 100)]
    found = prices_of(np.full(100, 0.3), np.full((100, 1), 3.0), caps)
    assert found[0] > 0
    quote = quote_of(Question(0.3, Usage(tokens=3)), caps, found)
    assert (quote.price, quote.cap) == (0, None), "the cap itself refuses it, and says so"


def test_question_without_price_is_asked() -> None:
    """Whether it is worth anything at all is for the policy to say, whose choice it is."""
    assert quote_of(Question(0.0, Usage(blocks=1)), [], np.zeros(0)).is_affordable


def test_state_without_noise_does_not_set_prices() -> None:
    (cap,) = set_caps(BudgetLimits.without_caps(epsilon_per_day=4.0))
    costs = np.array([[float(UNBOUNDED_COST)]] * 10 + [[1.0]] * 10)
    assert prices_of(np.full(20, 0.5), costs, [WindowCap(cap, cap.allowed, 20)]) == [0]
