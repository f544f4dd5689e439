"""Learn-then-Test, against exact binomial sums and many synthetic draws."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.risk_control import p_value, sequential_bounds, upper_bound


def tail(k: int, n: int, p: Fraction) -> Fraction:
    """P(Bin(n, p) <= k), exactly."""
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 99))
def test_p_value_is_the_exact_tail(n: int, losses: int, percent: int) -> None:
    losses = min(losses, n)
    exact = tail(losses, n, Fraction(percent, 100))
    assert p_value(losses, n, percent / 100) == pytest.approx(float(exact), rel=1e-7, abs=1e-12)


@given(st.integers(0, 2000), st.integers(1, 2000), st.floats(0.001, 0.5))
def test_bound_is_the_smallest_rejected_target(losses: int, n: int, delta: float) -> None:
    losses = min(losses, n)
    bound = upper_bound(losses, n, delta)
    assert losses / n <= bound <= 1
    if losses < n:
        assert p_value(losses, n, bound) == pytest.approx(delta, rel=1e-4)
        assert p_value(losses, n, bound * (1 - 1e-4)) > delta


def test_bound_without_losses_is_known_in_closed_form() -> None:
    assert upper_bound(0, 300, 0.1) == pytest.approx(1 - 0.1 ** (1 / 300))
    assert upper_bound(300, 300, 0.1) == 1


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.integers(1, 500))
def test_bounds_never_fall_with_the_threshold(losses: list[int], n: int) -> None:
    losses = [min(one, n) for one in losses]
    bounds = sequential_bounds(losses, n, 0.1)
    assert bounds == sorted(bounds)
    assert all(bound >= upper_bound(one, n, 0.1) for bound, one in zip(bounds, losses, strict=True))


DELTA, TARGET, DRAWS = 0.1, 0.1, 3000
SEQUENCES = (
    (0.02, 0.05, 0.101, 0.15, 0.3),  # one that just exceeds the target tempts most
    (0.0, 0.09, 0.102, 0.101, 0.3),
    (0.101, 0.03, 0.2, 0.0, 0.101),  # risks that do not grow with the threshold
    (0.101, 0.2, 0.3, 0.4, 0.5),
)
"""True risks of each disclosure's thresholds, the most careful first."""


@pytest.mark.parametrize("n", [60, 300])
def test_chosen_risk_exceeds_target_with_probability_delta(n: int) -> None:
    """Any of the certified may be chosen, here the one that is truly worst. A choice by the mean
    alone fails the same test."""
    bound_of = lru_cache(maxsize=None)(
        lambda losses: upper_bound(losses, n, DELTA / len(SEQUENCES))
    )
    rng = np.random.default_rng(7)
    worst, naive = [], []
    for _ in range(DRAWS):
        certified, by_mean = [0.0], [0.0]
        for risks in SEQUENCES:
            losses = [int(rng.binomial(n, risk)) for risk in risks]
            bounds = np.maximum.accumulate([bound_of(one) for one in losses])
            certified += [r for r, b in zip(risks, bounds, strict=True) if b <= TARGET]
            by_mean += [r for r, one in zip(risks, losses, strict=True) if one / n <= TARGET]
        worst.append(max(certified) > TARGET)
        naive.append(max(by_mean) > TARGET)
    error = 3 * sqrt(DELTA * (1 - DELTA) / DRAWS)
    assert np.mean(worst) <= DELTA + error
    assert np.mean(naive) > DELTA + error


def test_one_threshold_misses_nearly_as_often_as_allowed() -> None:
    """The bound of a single threshold is exact but for the steps of a whole number of losses."""
    rng = np.random.default_rng(3)
    bounds = [upper_bound(int(rng.binomial(1000, 0.1)), 1000, DELTA) for _ in range(DRAWS)]
    assert DELTA / 2 < np.mean(np.array(bounds) < 0.1) <= DELTA * 1.2
