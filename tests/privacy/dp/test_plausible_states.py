"""What a noised state may have been, against the exact posterior distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ive
from ugsd_privacy.dp.mechanism import exponent_of
from ugsd_privacy.dp.plausible_states import largest_sigma, plausible_states


def test_state_without_noise_is_the_received_one() -> None:
    received = np.array([0.6, 0.8], dtype=np.float32)
    states, shares = plausible_states(received, 0)
    assert (states == received).all()
    assert shares.tolist() == [1.0]


@given(st.floats(1e-6, 100))
def test_largest_sigma_has_the_same_exponent(sigma: float) -> None:
    exponent = exponent_of(sigma)
    assert sigma <= largest_sigma(exponent) * (1 + 1e-12)
    assert exponent_of(largest_sigma(exponent)) == exponent


@pytest.mark.parametrize("dim", [3, 6])
@pytest.mark.parametrize("exponent", [1, 2, 3, 5])
def test_plausible_states_have_the_posterior_mean(dim: int, exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    for _ in range(20):
        sent = rng.standard_normal(dim)
        noise = largest_sigma(exponent) * rng.standard_normal(dim)
        received = (sent / np.linalg.norm(sent) + noise).astype(np.float32)
        states, shares = plausible_states(received, exponent)
        assert np.allclose(np.linalg.norm(states, axis=1), 1, atol=1e-6)
        assert shares.sum() == pytest.approx(1)
        # The mean length of a von Mises-Fisher distribution: Mardia and Jupp, equation 9.3.7.
        length = np.linalg.norm(received)
        kappa = length / largest_sigma(exponent) ** 2
        expected = ive(dim / 2, kappa) / ive(dim / 2 - 1, kappa)
        mean = shares @ states
        along = float(mean @ received / length)
        assert along == pytest.approx(expected, abs=0.05)
        assert np.linalg.norm(mean - along * received / length) < 0.5


def test_strong_noise_leaves_every_direction_plausible() -> None:
    states, shares = plausible_states(np.array([3.0, 0, 0, 0, 0, 0], dtype=np.float32), 6)
    assert len(states) == 24
    assert np.linalg.norm(shares @ states) < 0.5
