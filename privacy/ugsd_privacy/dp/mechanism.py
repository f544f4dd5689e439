"""Clipping hidden states, adding noise to them, and quantising them.

Units: a *state* is a vector of B coordinates; the wire carries it as int8 in units of C/127, with C
the clip norm. The verifier reads states in units of C, so its vectors lie in the unit ball up to
rounding.

Bound: rounding moves a coordinate by at most half a unit, so a quantised vector has an L2 norm of
at most ``127 + sqrt(B)/2`` units, that is ``C * (1 + sqrt(B)/254)``: 1.6 % above C at B = 16. No
privacy guarantee depends on this rounding: with noise, rows are rounded toward zero instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.errors import WireError

__all__ = [
    "MAX_SIGMA",
    "QUANTISATION_STEPS",
    "clip",
    "dequantise",
    "noised",
    "noised_units",
    "quantise",
]

MAX_SIGMA = 128.0
"""Largest noise, in units of the clip norm. More would leave no signal in a state, and the table of
the sampler grows with it."""
QUANTISATION_STEPS = 127
"""Number of units from 0 to the clip norm; -128 is never written."""


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


def dequantise(states: bytes, dim: int) -> NDArray[np.float32]:
    """Read a block's ``states`` back as float32 ``(n, dim)``, each coordinate in [-1, 1].

    -128, which the egress never writes, is read as -127. Raises :class:`WireError` unless the bytes
    are a whole number of rows.
    """
    if dim == 0 and not states:
        return np.zeros((0, 0), dtype=np.float32)
    if dim <= 0 or len(states) % dim:
        raise WireError(f"{len(states)} bytes are not a whole number of rows of {dim} coordinates")
    units = np.maximum(np.frombuffer(states, dtype=np.int8), -QUANTISATION_STEPS)
    coordinates = units.astype(np.float32) / np.float32(QUANTISATION_STEPS)
    return coordinates.reshape(-1, dim).astype(np.float32)


def noised(clipped: NDArray[np.float64], norm: float, noise: RoundedGaussian) -> bytes:
    """Add noise to clipped rows, and encode them like :func:`quantise`.

    Sums outside of the range are clamped, which is post-processing.
    """
    sums = noised_units(clipped, norm, noise)
    limited: NDArray[np.int64] = np.clip(sums, -QUANTISATION_STEPS, QUANTISATION_STEPS)
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
