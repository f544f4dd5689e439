"""Exact samples of a rounded normal distribution, safe against floating-point attacks.

A sample is ``round(sigma Z)`` with Z standard normal, rounded to the nearest integer, with exactly
that distribution. A vector x of integers plus such noise is ``round(x + sigma Z)``: the continuous
Gaussian mechanism, followed by rounding, which is post-processing. So its exact accounting holds
(:mod:`ugsd_privacy.dp.accounting`), and all values sent are integers. The gaps between floats, by
which floating-point noise can be attacked, are never visible (Mironov 2012, "On significance of the
least significant bits for differential privacy"; Jin, McMurtry, Rubinstein and Ohrimenko 2022, "Are
we there yet?").

Method: inversion of the cumulative distribution at a uniform number of unlimited length. First 64
bits of the number are drawn and compared with thresholds that are known to 40 bits. If that is not
decisive, more bits are drawn and the nearby thresholds computed to more digits, until it is. So the
result does not depend on any precision, and there is no statistical distance to account for.

The index of a table look-up depends on the drawn number, so an attacker who observes the memory
accesses of this process may learn about the noise. There is no defence against that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["RoundedGaussian"]

_WORD_BITS = 64
_WORD_BYTES = _WORD_BITS // 8
_ERROR_BOUND = 2 ** (_WORD_BITS - 40)
"""Error bound of a threshold computed with floats, in units of 2**-64; the error of erfc is some
2**9 times smaller."""
_MOST_BITS = 2**12
"""If this many bits of a uniform number are not decisive, they are not random."""


class RoundedGaussian:
    """Samples ``round(sigma Z)``; a float ``sigma`` is taken as the exact rational number.

    ``entropy(n)`` returns n random bytes. The object is immutable, so threads may share it.
    """

    def __init__(self, sigma: Fraction | float, entropy: Callable[[int], bytes]) -> None:
        self._sigma = Fraction(sigma)
        self._entropy = entropy
        if self._sigma <= 0:
            raise ValueError("sigma must be above 0")
        self._least, self._certain, self._possible = _thresholds(self._sigma)

    def sample(self, n: int) -> NDArray[np.int64]:
        """Return ``n`` independent samples, int64 ``(n,)``."""
        words = np.frombuffer(self._entropy(_WORD_BYTES * n), dtype=">u8").astype(np.uint64)
        # The number of thresholds that are surely below; the last one never is.
        surely = np.searchsorted(self._certain, words, side="left")
        found = surely + self._least
        for index in np.flatnonzero(words >= self._possible[surely]):
            found[index] = self._resolve(int(words[index]))
        return found

    def _resolve(self, drawn: int) -> int:
        """Return the sample for a uniform number that begins with the bits ``drawn``."""
        bits = _WORD_BITS
        while bits < _MOST_BITS:
            drawn = drawn << bits | int.from_bytes(self._entropy(bits // 8), "big")
            bits *= 2
            first = self._first_above(drawn, bits)
            if first is not None and _cdf(first - 1, self._sigma, bits)[1] <= drawn:
                return first
        raise RuntimeError("the source of randomness is broken")

    def _first_above(self, drawn: int, bits: int) -> int | None:
        """Return the smallest k whose threshold is surely above the number, whatever follows."""
        far = math.ceil(self._sigma * math.isqrt(2 * bits)) + 2  # 2**-bits is within sqrt(2 bits)
        low, high = -far, far
        if _cdf(high, self._sigma, bits)[0] <= drawn:
            return None
        while low < high:
            middle = (low + high) // 2
            if _cdf(middle, self._sigma, bits)[0] > drawn:
                high = middle
            else:
                low = middle + 1
        return low


def _thresholds(sigma: Fraction) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the smallest number of the table, and for each number of the table the highest and the
    lowest possible value of its cumulative probability, in units of 2**-64.

    The table ends where the remaining tail is within the error bound; numbers in the tail are
    always resolved with more bits.
    """
    whole = 2**_WORD_BITS
    tails: list[int] = []
    wide = float(sigma) * math.sqrt(2)
    while not tails or tails[-1] > _ERROR_BOUND // 2:
        tails.append(int(math.erfc((len(tails) + 0.5) / wide) / 2 * whole))
    cumulative = [*reversed(tails), *(whole - tail for tail in tails)]
    highest = [min(value + _ERROR_BOUND, whole - 1) for value in cumulative]
    lowest = [max(value - _ERROR_BOUND, 0) for value in cumulative]
    return -len(tails), np.array(highest, np.uint64), np.array(lowest, np.uint64)


def _cdf(k: int, sigma: Fraction, bits: int) -> tuple[int, int]:
    """Return integers that enclose ``2**bits Phi((k + 1/2) / sigma)``.

    Phi(t) - 1/2 = phi(t) (t + t^3/3 + t^5/(3 5) + ...), all of one sign (Marsaglia 2004,
    "Evaluating the normal distribution"). Every Decimal operation, also exp and sqrt, is correct to
    half a unit in the last digit, so the error of n terms is below 8 n units.
    """
    if k < 0:
        low, high = _cdf(-k - 1, sigma, bits)
        return 2**bits - high, 2**bits - low
    t = Fraction(2 * k + 1, 2) / sigma
    digits = math.ceil(bits * math.log10(2)) + 12
    with localcontext(Context(prec=digits, Emin=-(10**9), Emax=10**9)):
        square = Decimal((t * t).numerator) / Decimal((t * t).denominator)
        term = total = Decimal(t.numerator) / Decimal(t.denominator)
        n = 1
        while term > total.scaleb(-digits) or n < square:
            n += 2
            term = term * square / n
            total += term
        half = total * (-square / 2).exp() / (2 * _pi(digits)).sqrt()
        scaled = (half + Decimal("0.5")) * 2**bits
        error = scaled.scaleb(1 - digits) * 8 * (n + 8)
        return math.floor(scaled - error), min(math.ceil(scaled + error), 2**bits)


@lru_cache(maxsize=16)
def _pi(digits: int) -> Decimal:
    """Compute pi by Machin's formula, in integers."""
    one = 10 ** (digits + 10)

    def arctangent_of_one_over(x: int) -> int:
        power, total, n = one // x, 0, 1
        while power:
            total += power // n if n % 4 == 1 else -(power // n)
            power, n = power // (x * x), n + 2
        return total

    pi = 4 * (4 * arctangent_of_one_over(5) - arctangent_of_one_over(239))
    return +Decimal(pi).scaleb(-(digits + 10))
