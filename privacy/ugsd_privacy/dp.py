"""What noise on the states is worth: Gaussian differential privacy, in closed form.

Mechanism: a vector of L2 norm at most C, plus Gaussian noise of standard deviation sigma in each
coordinate, rounded to the wire's grid and limited (:mod:`ugsd_privacy.noise`).

Sensitivity: one clipped vector may be replaced by any other, so ``2 C`` per vector; n vectors that
leave together move by at most ``2 C sqrt(n)``, that is, they compose like n releases.

Theorems: a release of sensitivity s is mu-GDP with ``mu = s / sigma``, and releases compose to the
root of the sum of squares, exactly (Dong, Roth and Su 2022, "Gaussian Differential Privacy",
Theorem 2.7 and Corollary 3.3); mu-GDP is ``(epsilon, delta)``-DP exactly where ``delta >=
Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2)`` (their Corollary 2.13; Balle and Wang
2018, Theorem 8). Where a caller spends adaptively, the cap is the guarantee and the amount spent is
bookkeeping.

Whatever is rounded here is rounded so that the claim is never smaller than the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

__all__ = [
    "RELATION",
    "UNBOUNDED",
    "Guarantee",
    "Unit",
    "compose",
    "delta_of",
    "epsilon_of",
    "epsilon_of_spend",
    "gaussian_mu",
    "mu_of",
    "sigma_of",
    "spend",
    "spend_of",
]

RELATION = "two inputs that give the same disclosed tokens and the same pattern of escalations"
"""Between which inputs a guarantee holds. Tokens, pattern and timing are outside it."""

UNBOUNDED: int = 2**60
"""The spend of states that left without noise; no epsilon bounds it."""

Unit = Literal["block", "caption", "hour", "day", "lifetime"]

_BILLION = 10**9
_LARGEST_PRIVACY = 10.0  # above this epsilon it is called noise
_FRACTION_FROM = 5.0  # from here on the continued fraction has converged to a double
_FRACTION_TERMS = 100
_LARGEST_A = 40.0  # phi(40) is below the least double
# Rounding in `_delta` moves epsilon by less than 1e-12; twice that and more is added to a claim.
_ROUND_UP = 1 + 1e-10
_ROUND_UP_BY = 1e-11


def gaussian_mu(*, sensitivity: float, sigma: float) -> float:
    """Return mu of one Gaussian release: ``sensitivity / sigma``; infinite without noise."""
    if not (sensitivity >= 0 and sigma >= 0):
        raise ValueError("sensitivity and sigma are not negative")
    if sensitivity == 0:
        return 0.0
    return sensitivity / sigma if sigma > 0 else math.inf


def compose(mus: Iterable[float]) -> float:
    """Return mu of releases together, each with noise of its own, whatever their sigmas."""
    return math.hypot(*mus)


def delta_of(*, epsilon: float, mu: float) -> float:
    """Return the least delta at which mu-GDP is ``(epsilon, delta)``-DP (Balle and Wang, Thm 8)."""
    if not (epsilon >= 0 and mu >= 0):
        raise ValueError("epsilon and mu are not negative")
    if mu == 0 or epsilon == math.inf:
        return 0.0
    if mu == math.inf:
        return 1.0
    return _delta(epsilon / mu - mu / 2, mu)


def epsilon_of(*, mu: float, delta: float) -> float:
    """Return the least epsilon at which mu-GDP is ``(epsilon, delta)``-DP, rounded up.

    ``delta`` lies in [1e-300, 0.5). The result is 0 to infinity.
    """
    if not 1e-300 <= delta < 0.5:
        raise ValueError("delta lies in [1e-300, 0.5)")
    if not mu >= 0:
        raise ValueError("mu is not negative")
    if mu == 0:
        return 0.0
    if mu == math.inf:
        return math.inf
    # Solved in a = epsilon/mu - mu/2, which stays small where epsilon is huge. Delta falls in a.
    low, high = -mu / 2, _LARGEST_A
    if low > high or _delta(low, mu) <= delta * (1 - 1e-12):
        return 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _delta(middle, mu) > delta else (low, middle)
    return max(0.0, mu * (high + mu / 2)) * _ROUND_UP + _ROUND_UP_BY


def mu_of(*, epsilon: float, delta: float) -> float:
    """Return the largest mu whose :func:`epsilon_of` is within ``epsilon``, rounded down."""
    if not epsilon >= 0:
        raise ValueError("epsilon is not negative")
    if epsilon == math.inf:
        return math.inf
    low, high = 0.0, 1.0
    while epsilon_of(mu=high, delta=delta) <= epsilon:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high and high - low > 1e-15 * high:
        within = epsilon_of(mu=middle, delta=delta) <= epsilon
        low, high = (middle, high) if within else (low, middle)
    return low


def sigma_of(*, epsilon: float, delta: float, sensitivity: float, releases: int = 1) -> float:
    """Return the least sigma, rounded up, at which ``releases`` of them are within epsilon."""
    if releases < 0:
        raise ValueError("releases are not negative")
    mu = mu_of(epsilon=epsilon, delta=delta)
    moved = sensitivity * math.sqrt(releases)
    if moved == 0 or mu == math.inf:
        return 0.0
    return moved / mu * (1 + 1e-12) if mu > 0 else math.inf


def spend(*, sensitivity: float | Fraction, sigma: float | Fraction, vectors: int) -> int:
    """Return what ``vectors`` cost in the ledger: mu^2 in billionths, rounded up, exactly.

    Spends add up as the squares of mu do. Without noise, or beyond, it is :data:`UNBOUNDED`.
    """
    if vectors < 0 or not (sensitivity >= 0 and sigma >= 0):
        raise ValueError("sensitivity, sigma and vectors are not negative")
    if vectors == 0 or sensitivity == 0:
        return 0
    if sigma == 0:
        return UNBOUNDED
    if math.inf in (sigma, sensitivity):
        raise ValueError("sensitivity and sigma are finite")
    ratio = Fraction(sensitivity) / Fraction(sigma)
    return min(math.ceil(_BILLION * vectors * ratio * ratio), UNBOUNDED)


def epsilon_of_spend(spend: int, delta: float) -> float:
    """Return the epsilon, rounded up, of a total :func:`spend`; infinite from UNBOUNDED on."""
    if spend < 0:
        raise ValueError("a spend is not negative")
    if spend >= UNBOUNDED:
        return math.inf
    mu = math.sqrt(spend / _BILLION) * (1 + 2**-51) if spend else 0.0
    return epsilon_of(mu=mu, delta=delta)


def spend_of(epsilon: float, delta: float) -> int:
    """Return the largest spend whose epsilon is within ``epsilon``: a cap for the ledger.

    It is found by asking :func:`epsilon_of_spend` itself, so that the two never disagree.
    """
    if not epsilon >= 0:
        raise ValueError("epsilon is not negative")
    if epsilon == math.inf:
        return UNBOUNDED
    within, beyond = 0, 1
    while epsilon_of_spend(beyond, delta) <= epsilon:
        within, beyond = beyond, 2 * beyond
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if epsilon_of_spend(middle, delta) <= epsilon:
            within = middle
        else:
            beyond = middle
    return within


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What the noise on the states of one unit guarantees, between the inputs of the relation."""

    epsilon: float
    """0 to infinity; infinite where states left without noise."""
    delta: float
    unit: Unit
    relation: str = RELATION

    @property
    def word(self) -> Literal["noise", "privacy"]:
        """Above epsilon 10 it is called noise, not privacy."""
        return "privacy" if self.epsilon <= _LARGEST_PRIVACY else "noise"

    def text(self) -> str:
        """Say it in one line."""
        if self.epsilon == math.inf:
            return f"no finite epsilon per {self.unit} (noise): states left without noise"
        shown = _shown_no_smaller(self.epsilon)
        return (
            f"epsilon {shown} at delta {self.delta:g} per {self.unit} ({self.word}): "
            f"for {self.relation}, the states that leave are that close"
        )

    def as_json(self) -> dict[str, float | str | None]:
        """Return it for JSON, which knows no infinity: ``None`` stands for it."""
        return {
            "epsilon": self.epsilon if self.epsilon < math.inf else None,
            "delta": self.delta,
            "unit": self.unit,
            "relation": self.relation,
            "word": self.word,
        }


def _shown_no_smaller(epsilon: float) -> str:
    """Write three digits or more, rounded up: what is printed is a claim as well."""
    if epsilon == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(epsilon)))
    return f"{math.ceil(Fraction(epsilon) * 10**digits) / 10**digits:.{digits}f}"


def _delta(a: float, mu: float) -> float:
    """Return delta at ``epsilon = mu (a + mu/2)``.

    ``e^epsilon Phi(-b) = phi(a) R(b)`` for ``b = a + mu`` and the Mills ratio ``R = (1-Phi)/phi``,
    so that no exponential of epsilon is ever formed and no two tiny tails are subtracted.
    """
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    if a > 0:
        return density * (_mills(a) - _mills(a + mu))
    return max(0.0, math.erfc(a / math.sqrt(2)) / 2 - density * _mills(a + mu))


def _mills(x: float) -> float:
    """Return ``(1 - Phi(x)) / phi(x)`` for x >= 0 (and moderately below)."""
    if x < _FRACTION_FROM:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    tail = x  # Laplace's continued fraction, 1/(x + 1/(x + 2/(x + ...))), from within
    for n in range(_FRACTION_TERMS, 0, -1):
        tail = x + n / tail
    return 1 / tail
