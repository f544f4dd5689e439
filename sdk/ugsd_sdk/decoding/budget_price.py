"""The price of a budget: what its last unit would be worth to the questions still to come.

Asking is an online multiple-choice knapsack. Its offline optimum asks the questions whose worth
exceeds the price of their cost, where the prices are the dual variables of the linear program: one
for each cap, in worth per unit. The future is unknown, so the prices are those of the expected rest
of the window, and are computed again for each question with what remains then (*re-solving*: its
regret grows with the logarithm of the number of questions, Li and Ye 2022, "Online Linear
Programming: Dual Convergence, New Algorithms, and Regret Bounds"; Agrawal, Wang and Ye 2014 learn
the prices from a sample, as here). Advertisers call this *budget pacing*.

The module is pure: recent questions and caps in, prices out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import Cap, Usage

__all__ = ["Question", "Quote", "WindowCap", "prices_of", "quote_of"]

_MAX_SWEEPS = 4
"""The prices of several scarce caps depend on each other; after four sweeps they hardly move."""
_ROUNDING = 1e-9
"""A question whose worth equals its price is asked, whatever the last bits of both are."""


@dataclass(frozen=True, slots=True)
class Question:
    """What asking gains, and what it uses."""

    worth: float
    """0 or more, finite, in any unit that is the same for all questions."""
    cost: Usage


@dataclass(frozen=True, slots=True)
class WindowCap:
    """A cap in its current window."""

    cap: Cap
    remaining: float
    """What it still allows, as a sum of charges (see :class:`~ugsd_privacy.budget.Cap`)."""
    expected: float
    """Expected number of questions until the window ends, the present one included."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The worth of a question and the price of its cost."""

    worth: float
    cost: Usage
    price: float
    """In the unit of ``worth``; 0 if the budget suffices for all expected questions."""
    cap: str | None
    """The cap that makes most of the price; ``None`` if the price is 0."""

    @property
    def is_affordable(self) -> bool:
        """Whether to ask: the worth is no smaller than the price."""
        return self.worth >= self.price * (1 - _ROUNDING)


def prices_of(
    worths: NDArray[np.float64], costs: NDArray[np.float64], caps: Sequence[WindowCap]
) -> NDArray[np.float64]:
    """Return the price (len(caps),) of each cap, in worth per charged unit, 0 or more.

    ``worths`` (n,) and ``costs`` (n, len(caps)), as charged to each cap, are those of recent
    questions, and the expected ones are taken to be like them. A cap's price is the least at which
    those that are worth their price use no more than remains, given the prices of the other caps;
    the scarcest cap comes first. It is 0 for a cap that suffices for all. A question that exceeds a
    whole cap by itself counts for nothing, since it can never be asked.
    """
    prices = np.zeros(len(caps))
    if not len(worths) or not caps:
        return prices
    per_recent = np.array([one.expected for one in caps]) / len(worths)
    remaining = np.array([one.remaining for one in caps], np.float64)
    can_be_asked = (costs <= [one.cap.allowed for one in caps]).all(axis=1)
    costs, worths = costs[can_be_asked], worths[can_be_asked]
    demand = costs.sum(axis=0) * per_recent
    scarce = [int(m) for m in np.flatnonzero(demand > remaining)]
    scarce.sort(key=lambda m: remaining[m] / demand[m])
    for _ in range(_MAX_SWEEPS):
        before = prices.copy()
        for m in scarce:
            prices[m] = 0.0
            net = worths - (costs * prices).sum(
                axis=1
            )  # a product of matrices is not safe in forks
            prices[m] = _least_price(net, costs[:, m], remaining[m] / per_recent[m])
        if len(scarce) == 1 or np.array_equal(before, prices):
            break
    return prices


def quote_of(question: Question, caps: Sequence[WindowCap], prices: NDArray[np.float64]) -> Quote:
    """Return the quote for ``question`` at ``prices``, one for each of ``caps``.

    The price of a question that a cap does not allow is 0: the cap refuses it, and says so.
    """
    charges = np.array([one.cap.charge(question.cost) for one in caps], np.float64)
    parts = charges * prices
    price = float(parts.sum())
    if not price or any(charge > one.remaining for charge, one in zip(charges, caps, strict=True)):
        return Quote(question.worth, question.cost, 0.0, None)
    return Quote(question.worth, question.cost, price, caps[int(parts.argmax())].cap.name)


def _least_price(
    worths: NDArray[np.float64], costs: NDArray[np.float64], remaining: float
) -> float:
    """Return the least price per unit at which the questions worth more use at most ``remaining``.

    ``worths`` and ``costs`` are (n,).
    """
    pays = (costs > 0) & (worths > 0)
    ratios, costs = worths[pays] / costs[pays], costs[pays]
    order = np.argsort(-ratios, kind="stable")
    first_without = np.searchsorted(np.cumsum(costs[order]), remaining, side="right")
    return float(ratios[order[first_without]]) if first_without < len(order) else 0.0
