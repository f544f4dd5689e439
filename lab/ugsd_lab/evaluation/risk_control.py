"""Bounds the risk of thresholds by Learn-then-Test, exactly for losses of 0 and 1.

Angelopoulos, Bates, Candès, Jordan, Lei 2021, "Learn then Test" (arXiv 2110.01052): each threshold
has the null hypothesis *its risk exceeds the target*, and the thresholds are tested in an order
fixed beforehand until one is not rejected. A loss of 0 or 1 has a binomial sum, so that the
binomial tail is an exact p-value, and its inversion the bound of Clopper and Pearson (1934).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from scipy.stats import beta, binom

__all__ = ["p_value", "sequential_bounds", "upper_bound"]


def p_value(losses: int, n: int, target: float) -> float:
    """Return P(Bin(``n``, ``target``) <= ``losses``), the p-value of the hypothesis that the true
    risk exceeds ``target`` (0 to 1), given the number of ``losses`` of ``n`` > 0 independent
    captions."""
    return float(binom.cdf(losses, n, target))


def upper_bound(losses: int, n: int, delta: float) -> float:
    """Return the smallest target that the test rejects at level ``delta``: the true risk of one
    threshold exceeds it with probability at most ``delta``."""
    return 1.0 if losses >= n else float(beta.ppf(1 - delta, losses + 1, n - losses))


def sequential_bounds(losses: Sequence[int], n: int, delta: float) -> list[float]:
    """Return a bound for each threshold, in the order of testing, the most careful first: the
    smallest target at which the test reaches it, which is the largest upper bound so far.

    For a target fixed beforehand, the probability that any threshold whose bound is at most the
    target has a larger risk is at most ``delta`` (fixed-sequence testing, section 3.2).
    """
    return list(accumulate((upper_bound(one, n, delta) for one in losses), max))
