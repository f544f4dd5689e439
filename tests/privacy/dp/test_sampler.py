"""The sampler has exactly the rounded normal distribution, whatever the random bits."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ugsd_privacy.dp.sampler import RoundedGaussian, _cdf

SIGMAS = [Fraction(1, 50), Fraction(1, 3), Fraction(1), Fraction(0.6) * 127, Fraction(8) * 127]
WHOLE = 2**64


def stream(seed: bytes) -> Callable[[int], bytes]:
    """Return random bytes that are the same in every run, whatever the sizes of requests."""
    taken = 0

    def read(n: int) -> bytes:
        nonlocal taken
        taken += 1
        return hashlib.shake_256(seed + taken.to_bytes(8, "big")).digest(n)

    return read


def scripted(*chunks: bytes) -> Callable[[int], bytes]:
    """Return these chunks on request, and then noise that is the same in every run."""
    waiting, rest = list(chunks), stream(b"rest")

    def read(n: int) -> bytes:
        if not waiting:
            return rest(n)
        chunk = waiting.pop(0)
        assert len(chunk) == n
        return chunk

    return read


def exact_cdf(k: int, sigma: Fraction, digits: int = 60) -> mpmath.mpf:
    with mpmath.workdps(digits):
        t = (mpmath.mpf(k) + mpmath.mpf(1) / 2) / (mpmath.mpf(sigma.numerator) / sigma.denominator)
        return +mpmath.ncdf(t)


def reference(drawn: int, sigma: Fraction, digits: int = 90, *, halves: int = 1) -> int:
    """The k with cdf(k - 1) <= u < cdf(k), for u in the middle of what 128 bits leave open, or with
    0 or 2 ``halves`` at its lower or upper end."""
    with mpmath.workdps(digits):
        uniform = mpmath.mpf(2 * drawn + halves) / mpmath.mpf(2) ** 129
        high = math.ceil(14 * float(sigma)) + 2
        low = -high
        while low < high:
            middle = (low + high) // 2
            if exact_cdf(middle, sigma, digits) > uniform:
                high = middle
            else:
                low = middle + 1
        return low


@pytest.mark.parametrize("bits", [64, 128, 512, 2048])
@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
def test_thresholds_lie_between_their_bounds(sigma: Fraction, bits: int) -> None:
    digits = bits // 3 + 40
    far = math.ceil(float(sigma) * math.sqrt(bits)) + 2
    for k in {0, -1, 1, 7, -9, far // 3, far // 2, -far // 2, far, -far}:
        low, high = _cdf(k, sigma, bits)
        with mpmath.workdps(digits):
            assert low <= exact_cdf(k, sigma, digits) * mpmath.mpf(2) ** bits <= high
        assert high - low <= 2


@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
def test_immediately_decided_words_are_correct(sigma: Fraction) -> None:
    noise = RoundedGaussian(sigma, stream(b"decided"))
    thresholds = range(noise._least, noise._least + len(noise._certain))
    step = max(1, len(thresholds) // 40)
    for index in range(0, len(thresholds), step):
        low, high = _cdf(thresholds[index], sigma, 64)
        assert noise._possible[index] <= low
        assert high <= int(noise._certain[index]) + 1
    assert int(noise._possible[0]) == 0, "the lower tail is never decided by the table"
    assert int(noise._certain[-1]) == WHOLE - 1, "nor is the upper one"


@given(st.integers(0, WHOLE - 1), st.sampled_from(SIGMAS[:4]), st.binary(min_size=8, max_size=8))
def test_any_bits_match_sixty_digits(word: int, sigma: Fraction, more: bytes) -> None:
    drawn = (word << 64) | int.from_bytes(more, "big")
    # Otherwise 128 bits are not decisive, and the sampler correctly draws more.
    assume(reference(drawn, sigma, halves=0) == reference(drawn, sigma, halves=2))
    found = RoundedGaussian(sigma, scripted(word.to_bytes(8, "big"), more)).sample(1)[0]
    assert found == reference(drawn, sigma)


@pytest.mark.parametrize("sigma", SIGMAS[1:4], ids=str)
@pytest.mark.parametrize("k", [0, -1, 2, -40])
def test_ties_are_broken_only_by_further_bits(sigma: Fraction, k: int) -> None:
    word, above = divmod(_cdf(k, sigma, 192)[0], 2**128)
    if not 0 < word < WHOLE - 1:
        pytest.skip("beyond the reach of 64 bits")
    second, third = divmod(above, 2**64)
    chunks = [word.to_bytes(8, "big"), second.to_bytes(8, "big")]
    for bump, expected in ((-2, k), (2, k + 1)):
        last = ((third << 64) + bump * 2**64) % 2**128
        noise = RoundedGaussian(sigma, scripted(*chunks, last.to_bytes(16, "big")))
        assert noise.sample(1)[0] == expected


@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
def test_both_tails_are_resolved_exactly(sigma: Fraction) -> None:
    for word in (0, WHOLE - 1):
        for more in (2**40, 2**63, WHOLE - 2**40):
            chunks = [word.to_bytes(8, "big"), more.to_bytes(8, "big")]
            found = RoundedGaussian(sigma, scripted(*chunks)).sample(1)[0]
            assert found == reference((word << 64) | more, sigma)


def test_broken_randomness_source_is_reported() -> None:
    with pytest.raises(RuntimeError, match="randomness"):
        RoundedGaussian(Fraction(1), lambda n: b"\xff" * n).sample(1)


@pytest.mark.parametrize("sigma", [Fraction(1, 3), Fraction(2), Fraction(0.6) * 127], ids=str)
def test_a_million_samples_fit_the_distribution(sigma: Fraction) -> None:
    count = 10**6
    samples = RoundedGaussian(sigma, stream(b"fit")).sample(count)
    reach = math.ceil(float(sigma) * 4) + 1
    step = max(1, reach // 20)
    edges = [*range(-reach, reach + 1, step)]
    cumulative = [0.0, *(float(exact_cdf(k, sigma, 20)) for k in edges), 1.0]
    expected = count * np.diff(cumulative)
    found = np.histogram(samples, bins=[-np.inf, *(k + 0.5 for k in edges), np.inf])[0]
    keep = expected >= 5
    statistic = float(((found - expected)[keep] ** 2 / expected[keep]).sum())
    from scipy.stats import chi2

    assert chi2.sf(statistic, int(keep.sum()) - 1) > 1e-4
    assert abs(samples.mean()) < 5 * max(float(sigma), 0.3) / 1000


def test_sixteen_threads_share_one_sampler() -> None:
    noise = RoundedGaussian(Fraction(0.6) * 127, lambda n: hashlib.shake_256(b"same").digest(n))
    expected, wrong = noise.sample(500), []

    def draw() -> None:
        if not (noise.sample(500) == expected).all():
            wrong.append(1)

    threads = [threading.Thread(target=draw) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("sigma", [Fraction(0), Fraction(-1)])
def test_nonpositive_sigma_is_refused(sigma: Fraction) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RoundedGaussian(sigma, stream(b""))
