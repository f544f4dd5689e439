"""Ways of spending a budget, on the same simulated days, without a clock or a disk.

Budget pacing runs as on the device: the policy, the pacer, the caps and the reasons that the
journal keeps are the real ones. The others are a fixed threshold, *first come first served*, and
the offline optimum, which knows the day beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits, Cap, Usage, check_caps, set_caps
from ugsd_privacy.errors import BudgetExceeded
from ugsd_privacy.ledger import BudgetStanding, Questions
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR
from ugsd_privacy.reasons import Reason, as_reason
from ugsd_sdk.decoding.budget_pacing import BudgetPacer, PacedPolicy
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)

from ugsd_lab.bench.simulated_days import SECONDS_PER_DAY

__all__ = ["PacedDevice", "Spending", "first_come", "fixed_threshold", "offline_optimum", "tuned"]

_CANDIDATES = 100
"""Thresholds that are tried on earlier days."""
_ROUNDING = 1e-9
"""A question that made the threshold reaches it, however the quotient was rounded."""


@dataclass(frozen=True)
class Spending:
    """What the questions that were asked on one day were worth."""

    worth: float
    gone_at_s: float | None
    """Seconds since midnight of the first question that a cap refused; ``None`` if none was."""


Asked = Sequence[tuple[float, Question]]
"""The questions of a day by seconds since midnight."""


def first_come(questions: Asked, limits: BudgetLimits) -> Spending:
    """Ask every question until a cap refuses it."""
    return fixed_threshold(questions, limits, 0.0)


def fixed_threshold(questions: Asked, limits: BudgetLimits, threshold: float) -> Spending:
    """Ask the questions with at least ``threshold`` worth per charged unit of the one cap."""
    (cap,) = set_caps(limits)
    used, worth, gone_at_s = Usage(), 0.0, None
    for time_s, question in questions:
        if question.worth < threshold * cap.charge(question.cost) * (1 - _ROUNDING):
            continue
        if cap.allows(question.cost, used):
            used, worth = used + question.cost, worth + question.worth
        elif gone_at_s is None:
            gone_at_s = time_s
    return Spending(worth, gone_at_s)


def tuned(days: Sequence[Asked], limits: BudgetLimits) -> float:
    """Return the threshold that would have been worth most on ``days``, of a hundred."""
    (cap,) = set_caps(limits)
    arrays = [_arrays(day, cap) for day in days]
    ratios = np.concatenate([worths / costs for worths, costs in arrays])
    candidates = np.quantile(ratios, np.linspace(0, 1, _CANDIDATES, endpoint=False))

    def total(threshold: float) -> float:
        return sum(_asked_worth(*day, cap.allowed, threshold) for day in arrays)

    return float(max(candidates, key=total))


def offline_optimum(questions: Asked, limits: BudgetLimits) -> float:
    """Return the most that any choice of the questions could be worth within the one cap.

    It is the optimum of the linear program, in which the last question may be asked in part: an
    upper bound.
    """
    (cap,) = set_caps(limits)
    worths, costs = _arrays(questions, cap)
    order = np.argsort(-worths / costs)
    before = np.cumsum(costs[order]) - costs[order]
    shares = np.clip((cap.allowed - before) / costs[order], 0, 1)
    return float(shares @ worths[order])


def _arrays(questions: Asked, cap: Cap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return worth and charge (n,) of each question."""
    worths = np.array([one.worth for _, one in questions])
    return worths, np.array([cap.charge(one.cost) for _, one in questions], np.float64)


def _asked_worth(
    worths: NDArray[np.float64], costs: NDArray[np.float64], remaining: float, threshold: float
) -> float:
    """Return what :func:`fixed_threshold` is worth. What does not fit once never fits later."""
    chosen, total = worths >= threshold * costs * (1 - _ROUNDING), 0.0
    worths, costs = worths[chosen], costs[chosen]
    while len(costs):
        used = np.cumsum(costs)
        count = int(np.searchsorted(used, remaining, side="right"))
        total += float(worths[:count].sum())
        remaining -= float(used[count - 1]) if count else 0.0
        later = slice(count, None)
        fits = costs[later] <= remaining
        worths, costs = worths[later][fits], costs[later][fits]
    return total


class PacedDevice:
    """A device that paces its budget, whose ledger and journal are in memory."""

    def __init__(self, limits: BudgetLimits) -> None:
        self._limits = limits
        self._journal: list[tuple[float, Reason]] = []
        self._pacer = BudgetPacer()

    def spend(self, day: int, questions: Asked) -> Spending:
        """Decide about the questions of one day; the days follow each other."""
        midnight_s = float(day * SECONDS_PER_DAY)
        used, worth, gone_at_s = Usage(), 0.0, None
        for time_s, question in questions:
            now_s = midnight_s + time_s
            known = self._questions_after(self._pacer.last_row)
            standing = BudgetStanding(self._limits, {"day": used}, now_s, known)
            decision = self._decide(question, standing)
            self._journal.append((now_s, as_reason(decision.reason)))
            if not isinstance(decision, Escalate):
                continue
            try:
                check_caps(self._limits, question.cost, {"day": used})
            except BudgetExceeded:
                gone_at_s = time_s if gone_at_s is None else gone_at_s
            else:
                used, worth = used + question.cost, worth + question.worth
        return Spending(worth, gone_at_s)

    def _decide(self, question: Question, standing: BudgetStanding) -> KeepLocal | Escalate:
        policy = PacedPolicy(UncertaintyPolicy(0.0), lambda *_: question.cost)
        view = BudgetView(quote=lambda asked: self._pacer.quote(asked, standing))
        block = BlockView(0, (), (question.worth,), verifier_has_summary=False)
        return policy(block, view)

    def _questions_after(self, row: int) -> Questions:
        found = self._journal[row:]
        by_hour = Counter(int(time_s // SECONDS_PER_HOUR) for time_s, _ in found)
        first_s = int(found[0][0]) if found else None
        latest = [(reason.worth or 0.0, reason.cost or ()) for _, reason in found]
        return Questions(latest, by_hour, first_s, len(self._journal))
