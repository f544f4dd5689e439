"""Bounds the risk of thresholds by Learn-then-Test.

Angelopoulos, Bates, Candès, Jordan, Lei 2021, "Learn then Test" (arXiv 2110.01052): each threshold
has the null hypothesis *its risk exceeds the target*, tested by the Hoeffding-Bentkus p-value of
its mean loss; the thresholds are tested in an order fixed beforehand until one is not rejected.
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
"""Tolerance that keeps a whole-numbered sum of losses from being rounded up by one."""


def p_value(risk: float, n: int, target: float) -> float:
    """Return the Hoeffding-Bentkus p-value (section 3.1) of the hypothesis that the true risk
    exceeds ``target`` (0 to 1), given the mean loss ``risk`` of ``n`` > 0 independent captions with
    losses from 0 to 1."""
    if target >= 1:
        return 0.0
    if risk >= target:
        return 1.0
    hoeffding = exp(-n * _divergence(risk, target))
    bentkus = _E * float(binom.cdf(ceil(n * risk - _ROUNDING), n, target))
    return min(hoeffding, bentkus, 1.0)


def upper_bound(risk: float, n: int, delta: float) -> float:
    """Return the smallest target that the test rejects at level ``delta``: the true risk of one
    threshold exceeds it with probability at most ``delta``."""
    if p_value(risk, n, 1 - _ROUNDING) > delta:
        return 1.0
    root = brentq(lambda target: p_value(risk, n, target) - delta, risk, 1 - _ROUNDING, xtol=1e-9)
    return min(1.0, float(root) + 1e-8)  # above the tolerance of the root search


def sequential_bounds(risks: Sequence[float], n: int, delta: float) -> list[float]:
    """Return a bound for each threshold, in the order of testing, the most careful first: the
    smallest target at which the test reaches it, which is the largest upper bound so far.

    For a target fixed beforehand, the probability that any threshold whose bound is at most the
    target has a larger risk is at most ``delta`` (fixed-sequence testing, section 3.2).
    """
    return list(accumulate((upper_bound(risk, n, delta) for risk in risks), max))


def _divergence(a: float, b: float) -> float:
    """Return KL(Bernoulli(a) || Bernoulli(b)) in nats, 0 <= a < b < 1."""
    first = a * log(a / b) if a > 0 else 0.0
    return first + (1 - a) * log((1 - a) / (1 - b))
