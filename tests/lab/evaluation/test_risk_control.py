"""Learn-then-Test, against exact binomial sums and many synthetic draws."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil, comb, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.risk_control import p_value, sequential_bounds, upper_bound


def tail(k: int, n: int, p: Fraction) -> Fraction:
    """P(Bin(n, p) <= k), exactly."""
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


def by_the_formula(risk: Fraction, n: int, target: Fraction) -> float:
    a, b = float(risk), float(target)
    kl = (a * log(a / b) if a else 0) + (1 - a) * log((1 - a) / (1 - b))
    return min(1.0, exp(-n * kl), exp(1) * float(tail(ceil(n * risk), n, target)))


@pytest.mark.parametrize("n", [1, 7, 60, 300])
@pytest.mark.parametrize("target", [Fraction(1, 50), Fraction(1, 5), Fraction(7, 10)])
@pytest.mark.parametrize("part", [0, Fraction(1, 3), Fraction(4, 5), Fraction(99, 100)])
def test_p_value_is_the_smaller_of_both_bounds(n: int, target: Fraction, part: Fraction) -> None:
    risk = target * part
    expected = by_the_formula(risk, n, target)
    assert p_value(float(risk), n, float(target)) == pytest.approx(expected, rel=1e-7)


@given(st.integers(1, 400), st.integers(0, 100), st.integers(1, 99))
def test_p_value_is_at_least_the_exact_one(n: int, wrong: int, percent: int) -> None:
    wrong = min(wrong, n)
    exact = tail(wrong, n, Fraction(percent, 100))
    assert p_value(wrong / n, n, percent / 100) >= float(exact) * (1 - 1e-9) - 1e-300


@given(st.floats(0, 1), st.integers(1, 2000), st.floats(0.001, 0.5))
def test_bound_is_the_smallest_rejected_target(risk: float, n: int, delta: float) -> None:
    bound = upper_bound(risk, n, delta)
    assert risk <= bound <= 1
    if bound < 1:
        assert p_value(risk, n, bound) <= delta
    if bound - risk > 1e-5:
        assert p_value(risk, n, bound - 1e-5) > delta


def test_whole_number_of_losses_is_not_rounded_up() -> None:
    losses = np.array([0.1] * 30)  # their sum is a little more than 3
    assert p_value(float(losses.mean()), 30, 0.4) == pytest.approx(p_value(3 / 30, 30, 0.4))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 500))
def test_bounds_never_fall_with_the_threshold(risks: list[float], n: int) -> None:
    bounds = sequential_bounds(risks, n, 0.1)
    assert bounds == sorted(bounds)
    assert all(
        bound >= upper_bound(risk, n, 0.1) for bound, risk in zip(bounds, risks, strict=True)
    )


DELTA, TARGET, DRAWS = 0.1, 0.1, 3000
SEQUENCES = (
    (0.02, 0.05, 0.101, 0.15, 0.3),  # one that just exceeds the target tempts most
    (0.0, 0.09, 0.102, 0.101, 0.3),
    (0.101, 0.03, 0.2, 0.0, 0.101),  # risks that do not grow with the threshold
    (0.101, 0.2, 0.3, 0.4, 0.5),
)
"""True risks of each disclosure's thresholds, the most careful first."""


@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.parametrize("granularity", [1, 4])
def test_chosen_risk_exceeds_target_with_probability_delta(n: int, granularity: int) -> None:
    """The loss is a share of ``granularity`` blocks. Any of the certified may be chosen, here the
    one that is truly worst. A choice by the mean alone fails the same test."""
    bound_of = lru_cache(maxsize=None)(
        lambda whole: upper_bound(whole / (n * granularity), n, DELTA / len(SEQUENCES))
    )
    rng = np.random.default_rng(7)
    worst, naive = [], []
    for _ in range(DRAWS):
        certified, by_mean = [0.0], [0.0]
        for risks in SEQUENCES:
            sums = [int(rng.binomial(granularity, risk, size=n).sum()) for risk in risks]
            bounds = np.maximum.accumulate([bound_of(whole) for whole in sums])
            certified += [r for r, b in zip(risks, bounds, strict=True) if b <= TARGET]
            by_mean += [
                r
                for r, whole in zip(risks, sums, strict=True)
                if whole / (n * granularity) <= TARGET
            ]
        worst.append(max(certified) > TARGET)
        naive.append(max(by_mean) > TARGET)
    error = 3 * sqrt(DELTA * (1 - DELTA) / DRAWS)
    assert np.mean(worst) <= DELTA + error
    assert np.mean(naive) > DELTA + error
