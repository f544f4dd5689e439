"""Clipping states, adding noise to them, and quantising them.

Units: a *state* is a vector of B coordinates; the wire carries it as int8 in units of C/127 times
2**exponent, with C the clip norm. The verifier reads states in units of C, so without noise its
vectors lie in the unit ball up to rounding, and the exponent is 0.

Bound: rounding moves a coordinate by at most half a unit, so a quantised vector has an L2 norm of
at most ``127 + sqrt(B)/2`` units, that is ``C * (1 + sqrt(B)/254)``: 1 % above C at B = 6. No
privacy guarantee depends on this rounding: with noise, rows are rounded toward zero instead.

Noise of sigma clip norms exceeds the range of int8 from about sigma = 1/4 on, and clamping it would
bias what the verifier reads. So noised units are divided by a power of two before they are encoded
(:func:`exponent_of`). The exponent depends on sigma alone, and the division changes only what was
noised already: it is post-processing, so no guarantee changes (Dwork and Roth 2014, proposition
2.1). It costs precision that the noise has destroyed anyway: rounding moves a coordinate by at most
half a step, that is ``C * 2**exponent / 254``, and a step is at most a tenth of sigma unless sigma
is below 1/6.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.errors import WireError

__all__ = [
    "MAX_EXPONENT",
    "MAX_SIGMA",
    "QUANTISATION_STEPS",
    "clip",
    "dequantise",
    "exponent_of",
    "noised",
    "noised_units",
    "quantise",
]

MAX_SIGMA = 128.0
"""Largest noise, in units of the clip norm. More would leave no signal in a state, and the table of
the sampler grows with it."""
QUANTISATION_STEPS = 127
"""Number of units from 0 to the clip norm; -128 is never written."""
MAX_EXPONENT = 10
"""That of ``MAX_SIGMA``, and the largest on the wire."""
_SIGMAS_IN_RANGE = 4
"""Noise of fewer standard deviations is never clamped: 1 coordinate of 15,000 has more."""


def clip(states: NDArray[np.float32], norm: float) -> NDArray[np.float64]:
    """Scale each row of ``states``, ``(n, B)``, down to an L2 norm of at most ``norm``; never up.

    Squares of float32 are within the range of float64, so that no finite input overflows.
    """
    wide = states.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, np.newaxis]
    clipped: NDArray[np.float64] = wide * (norm / np.maximum(norms, norm))
    return clipped


def quantise(states: NDArray[np.float64], norm: float) -> bytes:
    """Round clipped ``states``, ``(n, B)``, to int8 in units of ``norm/127``, row by row."""
    units = np.rint(states * (QUANTISATION_STEPS / norm))
    limited = np.clip(units, -QUANTISATION_STEPS, QUANTISATION_STEPS)
    return limited.astype(np.int8).tobytes()


def dequantise(states: bytes, dim: int, exponent: int = 0) -> NDArray[np.float32]:
    """Read a block's ``states`` back as float32 ``(n, dim)``, in units of the clip norm.

    Each coordinate is in [-1, 1] times 2**``exponent``. -128, which the egress never writes, is
    read as -127. Raises :class:`WireError` unless the bytes are a whole number of rows and
    ``exponent`` is from 0 to 10.
    """
    if not 0 <= exponent <= MAX_EXPONENT:
        raise WireError(f"an exponent of {exponent}; it must be from 0 to {MAX_EXPONENT}")
    if dim == 0 and not states:
        return np.zeros((0, 0), dtype=np.float32)
    if dim <= 0 or len(states) % dim:
        raise WireError(f"{len(states)} bytes are not a whole number of rows of {dim} coordinates")
    units = np.maximum(np.frombuffer(states, dtype=np.int8), -QUANTISATION_STEPS)
    coordinates = units.astype(np.float32) / np.float32(QUANTISATION_STEPS) * 2.0**exponent
    return coordinates.reshape(-1, dim).astype(np.float32)


def exponent_of(sigma: float | None) -> int:
    """Return the exponent for noise of ``sigma`` clip norms; 0 for ``None``, which is no noise.

    It is the least for which a coordinate of the clip norm and noise of four standard deviations
    are within the range of int8: ``1 + 4 * sigma <= 2**exponent``. No data is read, so that the
    exponent reveals nothing but ``sigma``.
    """
    if sigma is None:
        return 0
    # A float would round 1 + 4 * sigma to 1 for the smallest noise.
    return math.ceil(_SIGMAS_IN_RANGE * Fraction(sigma)).bit_length()


def noised(
    clipped: NDArray[np.float64], norm: float, noise: RoundedGaussian, exponent: int = 0
) -> bytes:
    """Add noise to clipped rows, and encode them as int8 in units of ``norm/127 * 2**exponent``.

    The division rounds to the nearest integer, ties to even, and so moves a coordinate by at most
    ``norm * 2**exponent / 254``, without a bias; quotients outside of the range are clamped. Both
    are post-processing.
    """
    quotients = np.rint(noised_units(clipped, norm, noise) / 2**exponent)
    limited: NDArray[np.float64] = np.clip(quotients, -QUANTISATION_STEPS, QUANTISATION_STEPS)
    return limited.astype(np.int8).tobytes()


def noised_units(
    clipped: NDArray[np.float64], norm: float, noise: RoundedGaussian
) -> NDArray[np.int64]:
    """Return clipped rows in units of ``norm/127``, rounded toward zero, plus noise: int64 (n, B).

    Rounding toward zero keeps the norm within ``QUANTISATION_STEPS``: the norm of a row of floats
    may be slightly too large, but the squared norm of a row of integers is an integer.
    """
    units = (clipped * (QUANTISATION_STEPS / norm)).astype(np.int64)  # astype rounds toward zero
    return units + noise.sample(units.size).reshape(units.shape)
