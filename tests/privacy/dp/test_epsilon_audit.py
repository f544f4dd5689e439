"""An attacker's bound on epsilon, from what the noise code really puts out: never above the claim,
and above it where the claim is made with a sensitivity that is too small."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, norm
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import clip, dequantise, noised, noised_units
from ugsd_privacy.dp.sampler import RoundedGaussian

from tests.privacy.dp.test_sampler import stream

TRIALS, DELTA, DOUBT = 1_000_000, 1e-6, 1e-3


def sent_bytes(side: float, sigma: float, vectors: int) -> NDArray[np.float64]:
    """``(TRIALS,)``: how much the released bytes speak for the input of ``side`` 1. No two inputs
    are further apart than those of both sides, which are much longer than the clip norm of 1."""
    # A coordinate clamped at the end of the range stands for all values beyond it.
    beyond = sigma * float(norm.pdf(1 / sigma) / norm.sf(1 / sigma))
    noise, batch = noise_of(side, sigma, vectors), np.full((50_000, 4), 9 * side, np.float32)

    def score() -> NDArray[np.float64]:
        sent = dequantise(noised(clip(batch, 1.0), 1.0, noise), 4).astype(np.float64)
        evidence: NDArray[np.float64] = np.where(np.abs(sent) == 1, np.sign(sent) * beyond, sent)
        return evidence.sum(axis=1)

    return summed(score, len(batch), vectors)


def before_the_cut(side: float, sigma: float, vectors: int) -> NDArray[np.float64]:
    """The same for the sums before they are clamped to a byte, which reveal the most."""
    noise, batch = noise_of(side, sigma, vectors), np.full((50_000, 1), 9 * side, np.float32)
    return summed(
        lambda: noised_units(clip(batch, 1.0), 1.0, noise)[:, 0].astype(np.float64),
        len(batch),
        vectors,
    )


def noise_of(side: float, sigma: float, vectors: int) -> RoundedGaussian:
    return RoundedGaussian(Fraction(sigma) * 127, stream(f"{side} {sigma} {vectors}".encode()))


def summed(
    score: Callable[[], NDArray[np.float64]], batch: int, vectors: int
) -> NDArray[np.float64]:
    """Sum over the vectors of each trial."""
    rows = [np.concatenate([score() for _ in range(TRIALS // batch)]) for _ in range(vectors)]
    total: NDArray[np.float64] = np.sum(rows, axis=0)
    return total


ATTACKS = [sent_bytes, before_the_cut]
attacks = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)


@cache
def lower_bound(attack: Callable[..., NDArray[np.float64]], sigma: float, vectors: int) -> float:
    """Epsilon is at least this with 99.9 % confidence, by Clopper and Pearson's intervals, whatever
    threshold an attacker takes. Half of the trials choose it, the other half count."""
    plus, minus = (attack(side, sigma, vectors) for side in (1.0, -1.0))
    half = TRIALS // 2
    best, chosen = -math.inf, 0.0
    for threshold in np.quantile(minus[:half], [0.9, 0.99, 0.999, 0.9995, 0.9998]):
        hits, false = (float(np.mean(side[:half] >= threshold)) for side in (plus, minus))
        score = math.log(max(hits - DELTA, 1e-12) / max(false, 2 / half))
        if score > best:
            best, chosen = score, float(threshold)
    counted = [int((side[half:] >= chosen).sum()) for side in (plus, minus)]
    least_hits = float(beta.ppf(DOUBT / 2, counted[0], half - counted[0] + 1))
    most_false = float(beta.ppf(1 - DOUBT / 2, counted[1] + 1, half - counted[1]))
    return math.log((least_hits - DELTA) / most_false)


def claim(sigma: float, vectors: int, sensitivity: float = dp.STATE_SENSITIVITY) -> float:
    cost = dp.privacy_cost(sensitivity=sensitivity, sigma=sigma, vectors=vectors)
    return dp.epsilon_of_privacy_cost(cost, DELTA)


@attacks
@pytest.mark.parametrize(("sigma", "vectors"), [(4.0, 1), (2.0, 1), (1.0, 1), (2.5, 3)])
def test_no_attacker_exceeds_claimed_epsilon(attack, sigma: float, vectors: int) -> None:
    found = lower_bound(attack, sigma, vectors)
    assert found <= claim(sigma, vectors)
    assert found > claim(sigma, vectors) / 3, "the attacker is too weak to find a mistake"


@pytest.mark.parametrize(("sigma", "vectors"), [(2.0, 1), (1.0, 1), (2.5, 3)])
def test_half_sensitivity_is_detected(sigma: float, vectors: int) -> None:
    wrong = claim(sigma, vectors, sensitivity=1.0)
    assert lower_bound(before_the_cut, sigma, vectors) > wrong


def test_half_sensitivity_is_detected_from_bytes_alone() -> None:
    assert lower_bound(sent_bytes, 2.5, 3) > claim(2.5, 3, sensitivity=1.0)
