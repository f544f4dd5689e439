"""Thresholds whose risk is bounded: Learn-then-Test.

Angelopoulos, Bates, Candès, Jordan, Lei 2021, "Learn then Test" (arXiv 2110.01052): each threshold
is a hypothesis *its risk exceeds the target*, tested by the Hoeffding-Bentkus p-value of its mean
loss; the thresholds are tested in an order fixed beforehand until one is not rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import ceil, exp, log

from scipy.optimize import brentq
from scipy.stats import binom

__all__ = ["p_value", "sequential_bounds", "upper_bound"]

_E = exp(1)
_ROUNDING = 1e-9
"""Keeps a sum of losses that is a whole number from being rounded up to the next."""


def p_value(risk: float, n: int, target: float) -> float:
    """Hoeffding-Bentkus p-value (section 3.1) that the true risk exceeds ``target`` (0 to 1), given
    a mean loss ``risk`` of ``n`` > 0 independent captions with losses from 0 to 1."""
    if target >= 1:
        return 0.0
    if risk >= target:
        return 1.0
    hoeffding = exp(-n * _divergence(risk, target))
    bentkus = _E * float(binom.cdf(ceil(n * risk - _ROUNDING), n, target))
    return min(hoeffding, bentkus, 1.0)


def upper_bound(risk: float, n: int, delta: float) -> float:
    """The least target that the test rejects at level ``delta``: the risk of one threshold alone
    exceeds it with probability at most ``delta``."""
    if p_value(risk, n, 1 - _ROUNDING) > delta:
        return 1.0
    root = brentq(lambda target: p_value(risk, n, target) - delta, risk, 1 - _ROUNDING, xtol=1e-9)
    return min(1.0, float(root) + 1e-8)  # on the safe side of what the search leaves open


def sequential_bounds(risks: Sequence[float], n: int, delta: float) -> list[float]:
    """For thresholds in the order in which they are tested, the most careful first: the least
    target at which the test comes as far as each, which is the largest bound up to it.

    For a target fixed beforehand, the chance that any threshold whose bound reaches it has a larger
    risk is at most ``delta`` (fixed-sequence testing, section 3.2).
    """
    return list(accumulate((upper_bound(risk, n, delta) for risk in risks), max))


def _divergence(a: float, b: float) -> float:
    """KL(Bernoulli(a) || Bernoulli(b)) in nats, 0 <= a < b < 1."""
    first = a * log(a / b) if a > 0 else 0.0
    return first + (1 - a) * log((1 - a) / (1 - b))
