"""Exact samples of a rounded normal distribution: the noise, safe against floating-point attacks.

``round(sigma Z)`` with Z standard normal, to the nearest integer, exactly so distributed. A vector
x of integers plus such noise is ``round(x + sigma Z)``: the continuous Gaussian mechanism, rounded
afterwards, which is post-processing. So its exact accounting holds
(:mod:`ugsd_privacy.dp.accounting`), and no
value leaves but integers: the gaps between floats, by which noise made of floats can be told from
its neighbour's, never do (Mironov 2012, "On significance of the least significant bits for
differential privacy"; Jin, McMurtry, Rubinstein and Ohrimenko 2022, "Are we there yet?").

How: a uniform number of unlimited length is looked up in the cumulative distribution. Of each, 64
bits are drawn at first and compared with thresholds that are known to 40 bits; where that leaves a
doubt, more bits are drawn and the thresholds next to it computed to more digits, until none is
left. So the result depends on no precision, and there is no statistical distance to account for.

Where in a table a look-up goes depends on what was drawn, so that who watches this process' memory
accesses may learn of the noise: that is not defended against.
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
_DOUBT = 2 ** (_WORD_BITS - 40)
"""How far a threshold made of floats may be off, in units of 2**-64; erfc is some 2**9 times
better."""
_MOST_BITS = 2**12
"""A uniform number that is undecided for so long comes of no random source."""


class RoundedGaussian:
    """``round(sigma Z)``, ``sigma`` taken as the very rational number that it is.

    ``entropy(n)`` gives n random bytes. Holds nothing that changes: threads may share it.
    """

    def __init__(self, sigma: Fraction | float, entropy: Callable[[int], bytes]) -> None:
        self._sigma = Fraction(sigma)
        self._entropy = entropy
        if self._sigma <= 0:
            raise ValueError("sigma must be above 0")
        self._least, self._certain, self._possible = _thresholds(self._sigma)

    def sample(self, n: int) -> NDArray[np.int64]:
        """``n`` independent ones, int64 ``(n,)``."""
        words = np.frombuffer(self._entropy(_WORD_BYTES * n), dtype=">u8").astype(np.uint64)
        # How many thresholds are surely below; the last one never is, so that there is a next.
        surely = np.searchsorted(self._certain, words, side="left")
        found = surely + self._least
        for index in np.flatnonzero(words >= self._possible[surely]):
            found[index] = self._resolve(int(words[index]))
        return found

    def _resolve(self, drawn: int) -> int:
        """The number of a uniform one that begins with ``drawn``."""
        bits = _WORD_BITS
        while bits < _MOST_BITS:
            drawn = drawn << bits | int.from_bytes(self._entropy(bits // 8), "big")
            bits *= 2
            first = self._first_above(drawn, bits)
            if first is not None and _cdf(first - 1, self._sigma, bits)[1] <= drawn:
                return first
        raise RuntimeError("the source of randomness is invalid")

    def _first_above(self, drawn: int, bits: int) -> int | None:
        """The least k whose threshold is surely above the number, all of its bits to come."""
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
    """The least number of the table, and for it and each next one the highest and the lowest value
    that its cumulative probability may have, in units of 2**-64.

    The table ends where what is beyond is within doubt, so that it is always resolved.
    """
    whole = 2**_WORD_BITS
    tails: list[int] = []
    wide = float(sigma) * math.sqrt(2)
    while not tails or tails[-1] > _DOUBT // 2:
        tails.append(int(math.erfc((len(tails) + 0.5) / wide) / 2 * whole))
    cumulative = [*reversed(tails), *(whole - tail for tail in tails)]
    highest = [min(value + _DOUBT, whole - 1) for value in cumulative]
    lowest = [max(value - _DOUBT, 0) for value in cumulative]
    return -len(tails), np.array(highest, np.uint64), np.array(lowest, np.uint64)


def _cdf(k: int, sigma: Fraction, bits: int) -> tuple[int, int]:
    """Integers between which ``2**bits Phi((k + 1/2) / sigma)`` lies.

    Phi(t) - 1/2 = phi(t) (t + t^3/3 + t^5/(3 5) + ...), all of one sign (Marsaglia 2004,
    "Evaluating the normal distribution"). Every step of Decimal is right to half a unit in its last
    digit, exp and sqrt too, so that n terms are off by less than 8 n units.
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
        doubt = scaled.scaleb(1 - digits) * 8 * (n + 8)
        return math.floor(scaled - doubt), min(math.ceil(scaled + doubt), 2**bits)


@lru_cache(maxsize=16)
def _pi(digits: int) -> Decimal:
    """By Machin's formula, in integers."""
    one = 10 ** (digits + 10)

    def arctangent_of_one_over(x: int) -> int:
        power, total, n = one // x, 0, 1
        while power:
            total += power // n if n % 4 == 1 else -(power // n)
            power, n = power // (x * x), n + 2
        return total

    pi = 4 * (4 * arctangent_of_one_over(5) - arctangent_of_one_over(239))
    return +Decimal(pi).scaleb(-(digits + 10))
