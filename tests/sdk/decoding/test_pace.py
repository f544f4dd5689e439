"""What measured times decide: whether a question is asked, and how long a block is."""

from __future__ import annotations

from itertools import pairwise
from math import log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode, as_reason
from ugsd_sdk.decoding.pace import Pace, TimelyPolicy, best_block_tokens
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    NeverEscalate,
)

BLOCK = BlockView(start=4, tokens=(1,), uncertainties=(0.5,), verifier_has_summary=False)


def test_slow_answer_is_forgotten_after_a_minute() -> None:
    now_s = 100.0
    pace = Pace(clock=lambda: now_s)
    pace.record_answer(30.0)
    assert isinstance(decide(pace), KeepLocal)
    now_s += 60
    assert isinstance(decide(pace), Escalate)
    pace.record_answer(0.1)
    assert pace.answer_s == pytest.approx(0.1), "the old answer has no part in it"


def test_continuation_counts_as_share_of_what_was_left() -> None:
    pace = pace_of(step_s=0.4, answer_s=0.0)
    pace.record_continuation(2, 22)  # all of the two that were left
    assert pace.saving_s(0) == pytest.approx(24 * 0.4)


def pace_of(*, step_s: float, answer_s: float, caption_tokens: int = 24) -> Pace:
    """Return the pace of a device on which everything takes as long as ever."""
    pace = Pace()
    for _ in range(200):
        pace.record_drafting(3, 3 * step_s)
        pace.record_answer(answer_s)
        pace.record_caption(caption_tokens)
    return pace


def decide(pace: Pace, remaining_s: float = 2.0, **limits: float) -> KeepLocal | Escalate:
    policy = TimelyPolicy(AlwaysEscalate(), pace, lambda: remaining_s, **limits)
    return policy(BLOCK, BudgetView())


def test_unknown_pace_asks() -> None:
    assert isinstance(decide(Pace()), Escalate)
    assert Pace().block_tokens(16) == 16


def test_late_answer_is_not_asked_for() -> None:
    decision = decide(pace_of(step_s=0.001, answer_s=2.5))
    assert isinstance(decision, KeepLocal)
    reason = as_reason(decision.reason)
    assert reason.code is ReasonCode.ANSWER_TOO_LATE
    assert (reason.value, reason.threshold) == (pytest.approx(2.5), 2.0)
    assert isinstance(decide(pace_of(step_s=0.001, answer_s=1.9)), Escalate)


def test_round_trip_that_jumps_is_noticed_before_asking() -> None:
    round_trip_s = 0.05
    pace = Pace(lambda: round_trip_s)
    for _ in range(20):
        pace.record_answer(0.08)
    assert pace.answer_s == pytest.approx(0.08)
    round_trip_s = 3.0
    assert pace.answer_s == pytest.approx(3.03)
    assert isinstance(decide(pace), KeepLocal)
    round_trip_s = 0.05
    assert isinstance(decide(pace), Escalate)


def test_delay_is_what_drafting_does_not_hide() -> None:
    pace = pace_of(step_s=0.01, answer_s=0.3)  # 20 tokens to go
    assert pace.delay_s(4) == pytest.approx(0.1)
    assert isinstance(decide(pace, max_delay_s=0.11), Escalate)
    assert isinstance(decide(pace, max_delay_s=0.09), KeepLocal)
    hidden = pace_of(step_s=0.02, answer_s=0.3)
    assert isinstance(decide(hidden, max_delay_s=0.0), Escalate)


def test_slow_device_asks_to_save_time() -> None:
    slow = pace_of(step_s=0.4, answer_s=0.5)
    policy = TimelyPolicy(NeverEscalate(), slow, lambda: 2.0, min_saving_s=1.0)
    decision = policy(BLOCK, BudgetView())
    assert decision == Escalate(Disclosure.SUMMARY, tokens=1)
    assert as_reason(decision.reason).code is ReasonCode.SAVES_TIME
    assert as_reason(decision.reason).value == pytest.approx(7.5)  # 20 * .4 - .5
    fast = pace_of(step_s=0.001, answer_s=0.5)
    assert isinstance(
        TimelyPolicy(NeverEscalate(), fast, lambda: 2.0, min_saving_s=1.0)(BLOCK, BudgetView()),
        KeepLocal,
    )
    late = TimelyPolicy(NeverEscalate(), slow, lambda: 0.4, min_saving_s=1.0)
    assert isinstance(late(BLOCK, BudgetView()), KeepLocal), "the answer would be lost"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.floats(0.2, 0.95), st.floats(0.001, 0.5), st.floats(0.0, 2.0))
def test_best_block_length_wins_a_simulation(
    seed: int, acceptance: float, step_s: float, answer_s: float
) -> None:
    """The formula is compared with rounds that are drawn at random."""
    random, longest = Random(seed), 8
    runs = [
        next((i for i in range(longest) if random.random() >= acceptance), longest)
        for _ in range(4000)
    ]

    def tokens_per_s(k: int) -> float:
        return sum(min(run, k) + 1 for run in runs) / len(runs) / (k * step_s + answer_s)

    best = max(map(tokens_per_s, range(1, longest + 1)))
    chosen = best_block_tokens(acceptance, step_s=step_s, answer_s=answer_s, longest=longest)
    assert tokens_per_s(chosen) >= 0.96 * best


def test_best_block_length_grows_with_logarithm_of_delay() -> None:
    delays = [0.01 * 4**i for i in range(7)]
    best = [
        best_block_tokens(0.8, step_s=0.01, answer_s=delay_s, longest=256) for delay_s in delays
    ]
    assert best == sorted(best)
    steps = [later - earlier for earlier, later in pairwise(best[2:])]
    per_doubling = -log(4) / log(0.8)  # a^k ~ 1 / delay: so many more for four times the delay
    assert all(abs(step - per_doubling) < 2.5 for step in steps), best


def test_block_length_adapts_to_acceptance() -> None:
    pace = pace_of(step_s=0.05, answer_s=0.2)
    usual = pace.block_tokens(16)
    for _ in range(50):
        pace.record_verdict(0, 5)
    assert pace.block_tokens(16) == 1 < usual
