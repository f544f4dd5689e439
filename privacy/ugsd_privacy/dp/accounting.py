"""What noise is worth: the exact accounting of Gaussian mechanisms, as pure functions.

A mechanism that adds normal noise of standard deviation ``sigma`` to a vector of L2 sensitivity
``sensitivity`` is mu-Gaussian-DP with mu = sensitivity / sigma, and several of them, of any sizes,
chosen beforehand or adaptively, compose to the root of the sum of their mu squared: exactly, not as
a bound (Dong, Roth and Su 2019, "Gaussian Differential Privacy", theorem 2.7 and corollary 3.3).
They are (epsilon, delta)-DP for just those pairs with

    delta >= Phi(-epsilon/mu + mu/2) - exp(epsilon) Phi(-epsilon/mu - mu/2)

(corollary 2.13 there; Balle and Wang 2018, theorem 8). Two vectors of norm C at most are at most 2C
apart, so that a clipped state has sensitivity 2C, and n of them released together 2C sqrt(n), as n
releases of one have.

The relation: two inputs that give the same disclosed tokens and the same pattern of escalations.
With adaptive spending the cap is what is guaranteed, by a filter for Gaussian DP (Koskela, Tobaben
and Honkela 2022, "Individual Privacy Accounting with Gaussian Differential Privacy"); what was
spent is bookkeeping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "MAX_PRIVACY_EPSILON",
    "RELATION",
    "STATE_SENSITIVITY",
    "UNBOUNDED_COST",
    "Guarantee",
    "Unit",
    "compose",
    "delta_from_mu",
    "epsilon_from_mu",
    "epsilon_of_privacy_cost",
    "gaussian_mu",
    "mu_from_epsilon",
    "privacy_cost",
    "privacy_cost_of_epsilon",
    "sigma_from_epsilon",
]

RELATION = "two inputs that give the same disclosed tokens and the same pattern of escalations"
"""The inputs between which what leaves is hard to tell apart."""

MAX_PRIVACY_EPSILON = 10.0
"""The largest epsilon that is called privacy; above it the word is noise."""

Unit = Literal["block", "caption", "hour", "day", "lifetime"]
"""What all of whose states a guarantee counts together."""

UNBOUNDED_COST = 2**60
"""The spend of a state that left without noise: no epsilon bounds it."""

STATE_SENSITIVITY = 2.0
"""Of a clipped state, in units of the clip norm: how far apart any two of them may be."""

_PER_UNIT = 10**9
"""A spend is mu squared in billionths, so that sums of it are exact."""
_ROUNDING = 1e-10
"""Claims are wider than what was computed by this share; computing is off by far less."""


class Guarantee(BaseModel):
    """What holds of the states that left: (epsilon, delta)-DP per ``unit`` under ``relation``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """Null where a state left without noise: then nothing bounds it."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The share of chances in which the bound may fail."""
    unit: Unit
    """What all of whose states are counted together."""
    relation: str = RELATION
    """Between which worlds it holds."""
    word: Literal["privacy", "noise", "none"]
    """What it may be called: `privacy` up to epsilon 10, `noise` above, `none` without."""

    @classmethod
    def from_privacy_cost(cls, spend: int, delta: float, unit: Unit = "caption") -> Self:
        """Of what was spent on a unit's states."""
        epsilon = epsilon_of_privacy_cost(spend, delta)
        if math.isinf(epsilon):
            return cls(epsilon=None, delta=delta, unit=unit, word="none")
        return cls(epsilon=epsilon, delta=delta, unit=unit, word=_word(epsilon))

    @model_validator(mode="after")
    def _check_word(self) -> Self:
        if self.word != ("none" if self.epsilon is None else _word(self.epsilon)):
            raise ValueError("no epsilon above 10 is called privacy")
        return self

    def text(self) -> str:
        """In half a line, without the relation; epsilon is rounded up."""
        if self.epsilon is None:
            return "no guarantee (no noise)"
        epsilon = _shown(self.epsilon)
        return f"epsilon {epsilon} at delta {self.delta:g} per {self.unit} ({self.word})"


def gaussian_mu(*, sensitivity: float, sigma: float) -> float:
    """mu of one release. Both in the same unit, above 0."""
    return sensitivity / sigma


def compose(mus: Iterable[float]) -> float:
    """mu of all of them together."""
    return math.hypot(*mus)


def delta_from_mu(*, epsilon: float, mu: float) -> float:
    """The least delta at which ``mu`` is within ``epsilon``; both at least 0."""
    if mu == 0:
        return 0.0
    if math.isinf(mu):
        return 1.0
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # exp(epsilon) phi(far) = phi(near): both terms share a density, which may be taken out.
    density = math.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    if near > 0:
        return density * (_mills(near) - _mills(far))
    return max(0.0, 0.5 * math.erfc(near / math.sqrt(2)) - density * _mills(far))


def epsilon_from_mu(*, mu: float, delta: float) -> float:
    """The least epsilon at ``delta``, in (0, 1), rounded up; infinite for an infinite ``mu``."""
    if math.isinf(mu):
        return math.inf
    if delta_from_mu(epsilon=0.0, mu=mu) <= delta:
        return 0.0
    # Phi(-near) alone is at most delta from here on.
    most = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    _, above = _bisected(0.0, most, lambda epsilon: delta_from_mu(epsilon=epsilon, mu=mu) > delta)
    return above * (1 + _ROUNDING)


def mu_from_epsilon(*, epsilon: float, delta: float) -> float:
    """The largest mu within ``epsilon`` at ``delta``, rounded down."""
    most = 1.0
    while delta_from_mu(epsilon=epsilon, mu=most) <= delta:
        most *= 2
    below, _ = _bisected(0.0, most, lambda mu: delta_from_mu(epsilon=epsilon, mu=mu) <= delta)
    return below * (1 - 10 * _ROUNDING)


def sigma_from_epsilon(
    *, epsilon: float, delta: float, sensitivity: float, releases: int = 1
) -> float:
    """The least sigma at which so many releases, each charged by itself, are within ``epsilon`` at
    ``delta``; infinite where that would take more noise than can be charged."""
    most = privacy_cost_of_epsilon(epsilon, delta) // releases
    if not most:
        return math.inf
    sigma = sensitivity * math.sqrt(_PER_UNIT / most)
    while privacy_cost(sensitivity=sensitivity, sigma=sigma, vectors=1) > most:
        sigma = math.nextafter(sigma, math.inf)
    return sigma


@lru_cache(maxsize=1024)
def privacy_cost(*, sensitivity: float, sigma: float, vectors: int) -> int:
    """What so many vectors cost under noise of ``sigma``: mu squared in billionths, rounded up.

    Noise so small that this would pass ``UNBOUNDED_COST`` counts as none.
    """
    exact = vectors * (Fraction(sensitivity) / Fraction(sigma)) ** 2
    return min(math.ceil(exact * _PER_UNIT), UNBOUNDED_COST)


@lru_cache(maxsize=1024)
def epsilon_of_privacy_cost(spend: int, delta: float) -> float:
    """The epsilon of what was spent, rounded up; infinite from ``UNBOUNDED_COST`` on."""
    if spend >= UNBOUNDED_COST:
        return math.inf
    return epsilon_from_mu(mu=_mu_of_privacy_cost(spend), delta=delta)


@lru_cache(maxsize=1024)
def privacy_cost_of_epsilon(epsilon: float, delta: float) -> int:
    """The most that may be spent within ``epsilon`` at ``delta``, less than ``UNBOUNDED_COST``."""
    within, beyond = 0, UNBOUNDED_COST
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if epsilon_from_mu(mu=_mu_of_privacy_cost(middle), delta=delta) <= epsilon:
            within = middle
        else:
            beyond = middle
    return within


def _word(epsilon: float) -> Literal["privacy", "noise"]:
    return "privacy" if epsilon <= MAX_PRIVACY_EPSILON else "noise"


def _shown(epsilon: float) -> str:
    """Three digits, rounded up: what is printed is a claim as well."""
    digits = 2 - math.floor(math.log10(epsilon)) if epsilon else 0
    rounded = math.ceil(Fraction(epsilon) * Fraction(10) ** digits) / 10.0**digits
    return f"{rounded:.{max(0, digits)}f}"


def _mu_of_privacy_cost(spend: int) -> float:
    return math.sqrt(spend / _PER_UNIT)


def _mills(x: float) -> float:
    """Phi(-x) / phi(x) for ``x >= 0``, to 13 digits."""
    if x < 5:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    tail = x  # Laplace's continued fraction, from the far end
    for n in range(60, 0, -1):
        tail = x + n / tail
    return 1 / tail


def _bisected(low: float, high: float, low_side: Callable[[float], bool]) -> tuple[float, float]:
    """Neighbours, nearly, between which ``low_side`` ends to hold."""
    while high - low > high * 1e-13:
        middle = (low + high) / 2
        if low_side(middle):
            low = middle
        else:
            high = middle
    return low, high
