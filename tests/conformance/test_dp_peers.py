"""The accountant compared with Opacus' RDP and PRV, and Google's dp-accounting."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from ugsd_privacy.dp import accounting as dp

DELTA = 1e-6
CASES = [(1, 4.0), (12, 4.0), (12, 1.3), (40, 6.0), (3, 2.0)]
"""Number of states, and noise in clip norms."""


def ours(vectors: int, sigma: float) -> float:
    return dp.epsilon_of_privacy_cost(
        dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=vectors), DELTA
    )


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    warnings.filterwarnings("ignore")


@pytest.mark.parametrize(("vectors", "sigma"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_opacus_rdp_is_a_close_upper_bound(vectors: int, sigma: float) -> None:
    from opacus.accountants.analysis import rdp

    orders = [1 + x / 100 for x in range(1, 2000)] + list(range(21, 512))
    # One release of a query of sensitivity 1 has noise sigma / 2.
    spent = rdp.compute_rdp(q=1.0, noise_multiplier=sigma / 2, steps=vectors, orders=orders)
    theirs, _ = rdp.get_privacy_spent(orders=orders, rdp=spent, delta=DELTA)
    assert ours(vectors, sigma) <= theirs <= 1.12 * ours(vectors, sigma)


@pytest.mark.parametrize(("vectors", "sigma"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_opacus_prv_agrees_within_its_stated_error(vectors: int, sigma: float) -> None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(sigma / 2, 1.0, vectors)]
    error = 0.01
    theirs = accountant.get_epsilon(DELTA, eps_error=error, delta_error=DELTA / 1000)
    assert ours(vectors, sigma) <= theirs <= ours(vectors, sigma) + 2 * error


@pytest.mark.parametrize(("vectors", "sigma"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_google_pld_bounds_our_epsilon_closely(vectors: int, sigma: float) -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    bounds = []
    for pessimistic in (False, True):
        one = pld.from_gaussian_mechanism(
            sigma / 2, pessimistic_estimate=pessimistic, value_discretization_interval=1e-3
        )
        bounds.append(one.self_compose(vectors).get_epsilon_for_delta(DELTA))
    low, high = bounds
    assert low - 1e-9 <= ours(vectors, sigma) <= high + 1e-9
    assert high - low < 0.01 * high + vectors * 2e-3


@pytest.mark.filterwarnings("ignore")
def test_google_pld_bounds_mixed_noise() -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    sigmas = [1.3, 4.0, 2.0, 6.0, 6.0]
    spent = sum(dp.privacy_cost(sensitivity=2.0, sigma=s, vectors=1) for s in sigmas)
    composed = None
    for sigma in sigmas:
        one = pld.from_gaussian_mechanism(sigma / 2, value_discretization_interval=1e-3)
        composed = one if composed is None else composed.compose(one)
    assert composed is not None
    theirs = composed.get_epsilon_for_delta(DELTA)
    assert (
        dp.epsilon_of_privacy_cost(spent, DELTA)
        <= theirs
        <= dp.epsilon_of_privacy_cost(spent, DELTA) + 0.02
    )


@pytest.mark.filterwarnings("ignore")
def test_google_rdp_is_an_upper_bound() -> None:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    for vectors, sigma in CASES:
        accountant = RdpAccountant(
            orders=np.concatenate([1 + np.arange(1, 2000) / 100, np.arange(21, 512)]),
            neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
        )
        accountant.compose(dp_accounting.GaussianDpEvent(sigma / 2), vectors)
        theirs = accountant.get_epsilon(DELTA)
        assert ours(vectors, sigma) <= theirs <= 1.12 * ours(vectors, sigma)


def test_google_calibrates_to_the_same_noise() -> None:
    from dp_accounting.mechanism_calibration import calibrate_dp_mechanism
    from dp_accounting.pld import PLDAccountant

    import dp_accounting  # isort: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = calibrate_dp_mechanism(
            PLDAccountant, dp_accounting.GaussianDpEvent, 8.0, DELTA, tol=1e-4
        )
    mine = dp.sigma_from_epsilon(epsilon=8.0, delta=DELTA, sensitivity=1.0)
    assert math.isclose(mine, theirs, rel_tol=1e-3)
