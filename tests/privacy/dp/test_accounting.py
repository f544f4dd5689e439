"""The accountant against high-precision arithmetic and against itself."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.dp import accounting as dp

mpmath.mp.dps = 60
deltas = st.sampled_from([1e-12, 1e-9, 1e-6, 1e-5, 1e-3, 0.1])
mus = st.floats(1e-3, 40)
GRID = [
    (mu, delta)
    for mu in (1e-3, 0.05, 0.3, 1.0, 2.5, 7.0, 11.547, 20.0, 40.0)
    for delta in (1e-12, 1e-9, 1e-6, 1e-3, 0.1)
]


def exact_delta(epsilon: float, mu: float) -> mpmath.mpf:
    """Dong, Roth and Su, corollary 2.13, to 60 digits."""
    e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
    return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


def exact_epsilon(mu: float, delta: float) -> mpmath.mpf:
    if exact_delta(0, mu) <= delta:
        return mpmath.mpf(0)
    low, high = mpmath.mpf(0), mpmath.mpf(mu) ** 2 / 2 + 10 * mpmath.mpf(mu) + 1
    while high - low > mpmath.mpf(10) ** -30:
        middle = (low + high) / 2
        low, high = (middle, high) if exact_delta(middle, mu) > delta else (low, middle)
    return high


@pytest.mark.parametrize(("mu", "delta"), GRID)
def test_epsilon_and_delta_match_sixty_digits(mu: float, delta: float) -> None:
    expected = exact_epsilon(mu, delta)
    found = dp.epsilon_from_mu(mu=mu, delta=delta)
    assert found >= expected, "the claim is below the true epsilon"
    assert found <= expected * (1 + 1e-6) + 1e-300
    for epsilon in (float(expected) * 0.5, float(expected), float(expected) * 1.5 + 1e-3):
        due_delta = exact_delta(epsilon, mu)
        found_delta = dp.delta_from_mu(epsilon=epsilon, mu=mu)
        assert abs(found_delta - due_delta) <= 1e-6 * due_delta + mpmath.mpf(10) ** -300


@pytest.mark.parametrize(("mu", "delta"), GRID)
def test_calibration_matches_sixty_digits(mu: float, delta: float) -> None:
    epsilon = float(exact_epsilon(mu, delta))
    if epsilon == 0:
        return
    sigma = dp.sigma_from_epsilon(epsilon=epsilon, delta=delta, sensitivity=2.0, releases=9)
    assert exact_delta(epsilon, 6 / sigma) <= delta, "the calibration costs too much"
    if mu > 0.1:  # below that, rounding to billionths is visible
        assert abs(sigma / (6 / mu) - 1) <= 1e-6


@pytest.mark.parametrize(
    ("vectors", "sigma", "epsilon"),
    [
        (12, 0.6, 120.718),
        (12, 1.3, 38.8212),
        (1, 2.0, 4.88655),  # mu 1 at delta 1e-6
        (1, 0.6, 20.7812),
    ],
)
def test_documented_cost_of_noise_is_correct(vectors: int, sigma: float, epsilon: float) -> None:
    cost = dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=vectors)
    assert math.isclose(dp.epsilon_of_privacy_cost(cost, 1e-6), epsilon, rel_tol=1e-5)
    assert math.isclose(exact_epsilon(2 / sigma * math.sqrt(vectors), 1e-6), epsilon, rel_tol=1e-5)


def test_classical_bound_is_never_better() -> None:
    for epsilon in (0.1, 0.5, 0.99):
        for delta in (1e-9, 1e-5, 1e-2):
            classical = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
            assert dp.sigma_from_epsilon(epsilon=epsilon, delta=delta, sensitivity=1.0) < classical


@given(mus, mus, deltas)
def test_more_noise_or_delta_never_cost_more(a: float, b: float, delta: float) -> None:
    low, high = sorted((a, b))
    assert dp.epsilon_from_mu(mu=low, delta=delta) <= dp.epsilon_from_mu(mu=high, delta=delta)
    assert dp.epsilon_from_mu(mu=high, delta=2 * delta) <= dp.epsilon_from_mu(mu=high, delta=delta)


@given(st.lists(st.floats(1e-1, 20), min_size=1, max_size=30))
def test_composition_is_root_of_sum_of_squares(parts: list[float]) -> None:
    expected = mpmath.sqrt(mpmath.fsum(mpmath.mpf(mu) ** 2 for mu in parts))
    cost = sum(dp.privacy_cost(sensitivity=mu, sigma=1.0, vectors=1) for mu in parts)
    composed, exact = (
        dp.epsilon_of_privacy_cost(cost, 1e-6),
        dp.epsilon_from_mu(mu=float(expected), delta=1e-6),
    )
    assert math.isclose(composed, exact, rel_tol=1e-6)
    assert dp.privacy_cost(sensitivity=2.0, sigma=4.0, vectors=4) == 10**9


@given(
    st.floats(0.05, 100).map(lambda s: round(s, 3)),
    st.integers(1, 500),
    st.integers(1, 500),
    deltas,
)
def test_costs_add_up_and_never_round_down(sigma: float, a: int, b: int, delta: float) -> None:
    parts = [dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=n) for n in (a, b)]
    both = dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=a + b)
    assert both <= sum(parts) <= both + 1
    exact = (a + b) * (mpmath.mpf(2) / mpmath.mpf(sigma)) ** 2 * 10**9
    assert exact <= both <= exact + 1
    assert dp.epsilon_of_privacy_cost(both, delta) >= dp.epsilon_from_mu(
        mu=2 / sigma * math.sqrt(a + b), delta=delta
    ) * (1 - 1e-9)


@given(st.floats(0, 1e4), deltas)
def test_cap_is_the_largest_allowed_cost(epsilon: float, delta: float) -> None:
    most = dp.privacy_cost_of_epsilon(epsilon, delta)
    assert dp.epsilon_of_privacy_cost(most, delta) <= epsilon
    assert dp.epsilon_of_privacy_cost(most + 1, delta) > epsilon
    assert most < dp.UNBOUNDED_COST


def test_unbounded_cost_gives_infinite_epsilon() -> None:
    assert dp.epsilon_of_privacy_cost(dp.UNBOUNDED_COST, 1e-6) == math.inf
    assert dp.epsilon_from_mu(mu=math.inf, delta=1e-6) == math.inf
    assert dp.delta_from_mu(epsilon=5.0, mu=math.inf) == 1.0
    assert dp.privacy_cost_of_epsilon(1e300, 1e-6) == dp.UNBOUNDED_COST - 1
    assert dp.privacy_cost(sensitivity=2.0, sigma=1e-9, vectors=1) == dp.UNBOUNDED_COST
    assert dp.epsilon_from_mu(mu=0.0, delta=1e-6) == dp.epsilon_of_privacy_cost(0, 1e-6) == 0.0
    assert dp.delta_from_mu(epsilon=0.0, mu=0.0) == 0.0


def test_label_is_privacy_only_up_to_ten() -> None:
    cost = {mu: int(mu * mu * 10**9) for mu in (1.0, 3.0)}
    private, noisy = (dp.Guarantee.from_privacy_cost(s, 1e-6, "caption") for s in cost.values())
    assert (private.label, noisy.label) == ("privacy", "noise")
    assert private.epsilon is not None
    assert private.epsilon < 10 < (noisy.epsilon or 0)
    assert private.text() == "epsilon 4.89 at delta 1e-06 per caption (privacy)"
    assert noisy.text() == "epsilon 18.2 at delta 1e-06 per caption (noise)"
    for guarantee in (private, noisy):
        assert guarantee.relation == dp.RELATION
        assert type(guarantee).model_validate_json(guarantee.model_dump_json()) == guarantee
    none = dp.Guarantee.from_privacy_cost(dp.UNBOUNDED_COST, 1e-6, "day")
    assert (none.label, none.epsilon) == ("none", None)
    assert none.text() == "no guarantee (no noise)"
    weighted = dp.Guarantee.from_privacy_cost(dp.UNBOUNDED_COST, 1e-6, only_states_have_noise=True)
    assert weighted.text() == "no guarantee (the probabilities have no noise)"
    assert '"epsilon":null' in none.model_dump_json()
    for lie in ({"epsilon": 10.1}, {"epsilon": None}):
        with pytest.raises(ValueError, match="label does not match"):
            dp.Guarantee.model_validate(private.model_dump() | lie)
    with pytest.raises(ValueError, match="a bound holds"):
        dp.Guarantee.model_validate(private.model_dump() | {"only_states_have_noise": True})


@given(st.floats(1e-3, 1e4), deltas)
def test_printed_epsilon_is_never_below_the_bound(epsilon: float, delta: float) -> None:
    guarantee = dp.Guarantee.from_privacy_cost(dp.privacy_cost_of_epsilon(epsilon, delta), delta)
    assert guarantee.epsilon is not None
    shown = float(guarantee.text().split()[1])
    assert guarantee.epsilon <= shown <= guarantee.epsilon * 1.01 + 1e-300


@pytest.mark.parametrize("epsilon", [5e-324, 1e-308, 1.7e308])
def test_extreme_epsilon_of_a_foreign_report_is_printed(epsilon: float) -> None:
    label = "privacy" if epsilon < 1 else "noise"
    given = dp.Guarantee.from_privacy_cost(1, 1e-6).model_dump()
    foreign = dp.Guarantee.model_validate(given | {"epsilon": epsilon, "label": label})
    assert float(foreign.text().split()[1]) >= epsilon


@given(st.floats(0.01, 300), deltas, st.integers(1, 100))
def test_noise_calibrated_for_epsilon_fits_its_cap(
    epsilon: float, delta: float, releases: int
) -> None:
    sigma = dp.sigma_from_epsilon(epsilon=epsilon, delta=delta, sensitivity=2.0, releases=releases)
    if math.isinf(sigma):
        return
    one = dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=1)
    assert (
        releases * one
        <= dp.privacy_cost_of_epsilon(epsilon, delta)
        < releases * (one + 1) + releases
    )
