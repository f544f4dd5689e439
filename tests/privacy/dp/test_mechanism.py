from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import (
    MAX_SIGMA,
    QUANTISATION_STEPS,
    clip,
    dequantise,
    exponent_of,
    noised,
    noised_units,
    quantise,
)
from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.errors import WireError
from ugsd_privacy.protocol.messages import MAX_EXPONENT

states = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
)
norms = st.floats(0.01, 100)


@given(states, norms)
def test_clipping_bounds_norm_and_never_scales_up(x: NDArray[np.float32], norm: float) -> None:
    clipped = clip(x, norm)
    assert (np.linalg.norm(clipped, axis=1) <= norm * (1 + 1e-9)).all()
    assert (np.abs(clipped) <= np.abs(x.astype(np.float64))).all()


@given(states, norms)
def test_short_vector_is_unchanged(x: NDArray[np.float32], norm: float) -> None:
    short = (clip(x, norm) / 2).astype(np.float32)
    assert (clip(short, norm) == short).all()


@given(states, norms)
def test_quantised_norm_is_below_documented_bound(x: NDArray[np.float32], norm: float) -> None:
    quantised = np.frombuffer(quantise(clip(x, norm), norm), np.int8).reshape(x.shape)
    bound = QUANTISATION_STEPS + np.sqrt(x.shape[1]) / 2
    assert (np.linalg.norm(quantised.astype(float), axis=1) <= bound * (1 + 1e-9)).all()
    assert quantised.min(initial=0) >= -QUANTISATION_STEPS


@given(states, norms)
def test_dequantising_is_within_half_a_step(x: NDArray[np.float32], norm: float) -> None:
    clipped = clip(x, norm)
    back = dequantise(quantise(clipped, norm), x.shape[1])
    assert back.dtype == np.float32
    assert np.abs(back - clipped / norm).max() <= 0.5 / QUANTISATION_STEPS + 1e-6


@given(states, norms, st.integers(0, 10))
def test_scaled_rows_read_back_within_bound(
    x: NDArray[np.float32], norm: float, exponent: int
) -> None:
    clipped = clip(x, norm)
    sent = noised(clipped, norm, NoNoise(), exponent)  # type: ignore[arg-type]
    back = dequantise(sent, x.shape[1], exponent)
    bound = (2**exponent / 2 + 1) / QUANTISATION_STEPS
    assert np.abs(back - clipped / norm).max() <= bound + 1e-6


@given(st.floats(0, MAX_SIGMA, exclude_min=True))
@example(1e-17)
def test_exponent_is_least_that_fits_the_noise(sigma: float) -> None:
    exponent, extent = exponent_of(sigma), 1 + 4 * Fraction(sigma)
    assert extent <= 2**exponent
    assert extent > 2 ** (exponent - 1)


def test_largest_exponent_is_that_of_largest_sigma() -> None:
    assert exponent_of(None) == 0
    assert exponent_of(MAX_SIGMA) == MAX_EXPONENT
    assert dequantise(b"\x7f", 1, MAX_EXPONENT).tolist() == [[2.0**MAX_EXPONENT]]
    for exponent in (-1, MAX_EXPONENT + 1):
        with pytest.raises(WireError, match="exponent"):
            dequantise(b"\x7f", 1, exponent)


@pytest.mark.parametrize("sigma", [0.25, 1.0, 8.0, MAX_SIGMA])
def test_noised_rows_are_unbiased_and_unclamped(sigma: float) -> None:
    row = np.tile(clip(np.array([[0.6, -0.3]], np.float32), 1.0), (20_000, 1))
    noise = RoundedGaussian(Fraction(sigma) * 127, os.urandom)
    exponent = exponent_of(sigma)
    sent = noised(row, 1.0, noise, exponent)
    assert np.mean(np.abs(np.frombuffer(sent, np.int8).astype(int)) == QUANTISATION_STEPS) < 0.01
    bias = dequantise(sent, 2, exponent).astype(np.float64).mean(axis=0) - row[0]
    assert (np.abs(bias) < 5 * sigma / np.sqrt(len(row)) + 1 / QUANTISATION_STEPS).all()


def test_no_states_give_no_rows() -> None:
    assert quantise(clip(np.zeros((0, 4), np.float32), 1.0), 1.0) == b""
    assert dequantise(b"", 0).shape == (0, 0)
    assert dequantise(b"", 4).shape == (0, 4)


def test_minus_128_reads_as_minus_one() -> None:
    assert dequantise(b"\x80", 1).tolist() == [[-1.0]]


@pytest.mark.parametrize(("data", "dim"), [(b"abc", 2), (b"a", 0), (b"a", -1)])
def test_ragged_states_raise_wire_error(data: bytes, dim: int) -> None:
    with pytest.raises(WireError):
        dequantise(data, dim)


class NoNoise:
    def sample(self, n: int) -> NDArray[np.int64]:
        return np.zeros(n, np.int64)


class MuchNoise:
    def sample(self, n: int) -> NDArray[np.int64]:
        return np.resize(np.array([10**6, -(10**6)]), n)


@given(states, norms)
def test_noised_rows_are_integers_within_clip_norm(x: NDArray[np.float32], norm: float) -> None:
    units = noised_units(clip(x, norm), norm, NoNoise())  # type: ignore[arg-type]
    assert units.dtype == np.int64
    assert (np.square(units).sum(axis=1) <= QUANTISATION_STEPS**2).all(), (
        "the norm is larger than what was charged"
    )
    exact = clip(x, norm) / norm * QUANTISATION_STEPS
    assert (np.abs(units - exact) < 1 + 1e-6).all()


@given(states, norms)
def test_noise_beyond_the_range_is_clamped(x: NDArray[np.float32], norm: float) -> None:
    sent = np.frombuffer(noised(clip(x, norm), norm, MuchNoise()), np.int8)  # type: ignore[arg-type]
    assert set(sent.tolist()) <= {QUANTISATION_STEPS, -QUANTISATION_STEPS}


def test_neighbours_release_the_same_set_of_values() -> None:
    """With floating-point noise, the last bits would reveal the input."""
    noise = RoundedGaussian(Fraction(2), os.urandom)
    supports = []
    for value in (0.5, 0.5000001, -1 / 3):
        row = np.full((4000, 4), value, np.float32)
        sent = np.frombuffer(noised(clip(row, 1.0), 1.0, noise), np.int8)
        centre = int(np.trunc(clip(row, 1.0)[0, 0] * 127))
        supports.append(set((sent.astype(int) - centre).tolist()))
    middle = set(range(-5, 6))
    assert all(middle <= support for support in supports)
