"""Budget pacing: a question is asked only if it is worth what its cost is worth to later ones.

The price follows from what remains of the budget and from the questions to be expected, by
:mod:`~ugsd_sdk.decoding.budget_price` and :mod:`~ugsd_sdk.decoding.demand_forecast`. Caps of an
hour and of a day have a price. A caption's caps have none, since nothing is known of its later
blocks; nor have a recording and a lifetime, since nothing is known of their end. Their caps hold as
they do without pacing, and so do all caps where the budget suffices: then the price is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import MEASURES, Cap, Usage, Window, set_caps
from ugsd_privacy.ledger import BudgetStanding
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR
from ugsd_privacy.ledger.user_budget import HISTORY_S, MAX_RECENT
from ugsd_privacy.reasons import NUM_AMOUNTS, Reason, ReasonCode, as_reason

from ugsd_sdk.decoding.budget_price import Question, Quote, WindowCap, prices_of, quote_of
from ugsd_sdk.decoding.demand_forecast import Demand
from ugsd_sdk.decoding.policy import (
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    Policy,
)

__all__ = ["BudgetPacer", "CapPrice", "PacedPolicy"]

_MIN_RECENT = 10
"""With fewer there is no price."""
_SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR
_MAX_WORTH = 1.0
"""That of a certain gain or rejection: an application's uncertainty may have another unit."""
_LENGTHS_S: Mapping[Window, int] = {"hour": SECONDS_PER_HOUR, "day": _SECONDS_PER_DAY}


class CapPrice(NamedTuple):
    """The current price of a cap."""

    cap: Cap
    remaining: float
    expected: float
    """Number of questions that are expected until the window ends, the next one included."""
    price: float
    """What a question of average cost must be worth because of this cap."""


class BudgetPacer:
    """Quotes prices for one user's questions, and remembers those of the journal.

    Each standing that it is given has the questions after ``last_row``. Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        """Guards all attributes below."""
        self._forget()

    def _forget(self) -> None:
        self.last_row = 0
        """The last row of the journal that is known."""
        self._worths = np.empty(0)
        self._costs = np.empty((0, NUM_AMOUNTS))
        """(n, 5): ``Usage.counts`` of the recent questions."""
        self._by_hour: Counter[int] = Counter()
        self._first_s: float | None = None

    def quote(
        self, question: Question, standing: BudgetStanding, *, after: int | None = None
    ) -> Quote:
        """Return the quote for ``question``.

        ``after`` is ``last_row`` as it was when ``standing`` was read: if another thread has added
        questions since, those of ``standing`` are left to the next quote, so that none counts
        twice.
        """
        with self._lock:
            if after in (None, self.last_row):
                self._add(standing)
            caps = self._window_caps(standing)
            return quote_of(question, caps, self._prices(caps, [question]))

    def prices(self, standing: BudgetStanding) -> list[CapPrice]:
        """Return the current price of each cap that has one."""
        with self._lock:
            self._add(standing)
            caps = self._window_caps(standing)
            mean_cost = self._costs.mean(axis=0) if len(self._costs) else np.zeros(len(MEASURES))
            return [
                CapPrice(
                    one.cap,
                    one.remaining,
                    one.expected,
                    float(price * mean_cost[MEASURES.index(one.cap.measure)]),
                )
                for one, price in zip(caps, self._prices(caps), strict=True)
            ]

    def _add(self, standing: BudgetStanding) -> None:
        found = standing.questions
        if found.last_row < self.last_row:  # the owner erased rows: what remains is read again
            self._forget()
            return
        self.last_row = found.last_row
        if not found.by_hour:
            return
        worths = [worth for worth, _ in found.latest]
        costs = np.reshape([cost for _, cost in found.latest], (len(worths), NUM_AMOUNTS))
        self._worths = np.append(self._worths, worths)[-MAX_RECENT:]
        self._costs = np.append(self._costs, costs, axis=0)[-MAX_RECENT:]
        earliest = int(standing.time_s - HISTORY_S) // SECONDS_PER_HOUR
        for hour, count in found.by_hour.items():
            self._by_hour[hour] += count
        for hour in [one for one in self._by_hour if one < earliest]:
            del self._by_hour[hour]
        if self._first_s is None:
            self._first_s = found.first_s

    def _window_caps(self, standing: BudgetStanding) -> list[WindowCap]:
        demand = Demand(self._by_hour, self._first_s)
        expected: dict[Window, float] = {}
        for window, length_s in _LENGTHS_S.items():
            ends_s = (standing.time_s // length_s + 1) * length_s
            expected[window] = 1 + demand.expected(standing.time_s, ends_s)
        return [
            WindowCap(
                cap,
                max(0, cap.allowed - cap.charge(standing.used.get(cap.window, Usage()))),
                expected[cap.window],
            )
            for cap in set_caps(standing.limits)
            if cap.window in expected
        ]

    def _prices(
        self, caps: list[WindowCap], present: Sequence[Question] = ()
    ) -> NDArray[np.float64]:
        worths = np.append(self._worths, [one.worth for one in present])
        counts = [one.cost.counts for one in present]
        if len(worths) < _MIN_RECENT:
            return np.zeros(len(caps))
        costs = np.concatenate([self._costs, counts]) if counts else self._costs
        columns = [MEASURES.index(one.cap.measure) for one in caps]
        return prices_of(worths, costs[:, columns], caps)


class PacedPolicy:
    """Keeps a block that ``policy`` would send if it is worth less than its price.

    ``cost_of`` returns what sending a block would use; ``None`` if it cannot be sent.
    """

    def __init__(
        self, policy: Policy, cost_of: Callable[[BlockView, Escalate], Usage | None]
    ) -> None:
        self._policy = policy
        self._cost_of = cost_of

    def __call__(self, block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        decision = self._policy(block, budget)
        if isinstance(decision, KeepLocal):
            return decision
        cost = self._cost_of(block, decision)
        asking = as_reason(decision.reason)
        quote = None if cost is None else budget.quote(Question(_worth(block, asking), cost))
        if quote is None:
            return decision
        reason = replace(
            asking,
            cap=quote.cap,
            worth=quote.worth,
            price=quote.price,
            cost=quote.cost.counts,
        )
        if quote.is_affordable:
            return replace(decision, reason=reason)
        return KeepLocal(replace(reason, code=ReasonCode.BELOW_PRICE, words=None))


def _worth(block: BlockView, asking: Reason) -> float:
    """Return what a question is worth that is asked for the reason ``asking``: its expected gain,
    or if a threshold or target decided, the probability that the verifier rejects the draft.

    Recent questions may have the other unit if the user changed what decides: prices are then
    wrong until new questions have replaced them, at most the latest 1024."""
    by_gain = asking.code is ReasonCode.GAIN_EXPECTED and asking.value is not None
    worth = asking.value if by_gain else block.uncertainty
    return min(max(worth or 0.0, 0.0), _MAX_WORTH)
