"""Exact privacy accounting of Gaussian mechanisms, as pure functions.

A mechanism that adds normal noise of standard deviation ``sigma`` to a vector of L2 sensitivity
``sensitivity`` is mu-Gaussian-DP with mu = sensitivity / sigma, and several of them, of any sizes,
chosen beforehand or adaptively, compose to the root of the sum of their mu squared: exactly, not as
a bound (Dong, Roth and Su 2019, "Gaussian Differential Privacy", theorem 2.7 and corollary 3.3).
They are (epsilon, delta)-DP exactly for the pairs with

    delta >= Phi(-epsilon/mu + mu/2) - exp(epsilon) Phi(-epsilon/mu - mu/2)

(corollary 2.13 there; Balle and Wang 2018, theorem 8). Two vectors of norm C at most are at most 2C
apart, so that a clipped state has sensitivity 2C, and n of them released together 2C sqrt(n), as n
releases of one have.

The neighbouring relation: two inputs that give the same disclosed tokens and the same pattern of
escalations. As costs are chosen adaptively, the guarantee is that of the cap, by a filter for
Gaussian DP (Koskela, Tobaben and Honkela 2022, "Individual Privacy Accounting with Gaussian
Differential Privacy"); the cost so far is bookkeeping.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ugsd_privacy.strict_models import DescribedModel

__all__ = [
    "MAX_PRIVACY_EPSILON",
    "RELATION",
    "STATE_SENSITIVITY",
    "UNBOUNDED_COST",
    "Guarantee",
    "Unit",
    "block_privacy_cost",
    "delta_from_mu",
    "epsilon_from_mu",
    "epsilon_of_privacy_cost",
    "privacy_cost",
    "privacy_cost_of_epsilon",
    "sigma_from_epsilon",
]

RELATION = "two inputs that give the same disclosed tokens and the same pattern of escalations"
"""The neighbouring relation: the inputs that are hard to distinguish by what is sent."""

MAX_PRIVACY_EPSILON = 10.0
"""The largest epsilon that is labelled privacy; a larger one is labelled noise."""

Unit = Literal["block", "caption", "hour", "day", "lifetime"]
"""The unit over whose states a guarantee holds."""

UNBOUNDED_COST = 2**60
"""The privacy cost of a state sent without noise: no epsilon bounds it."""

STATE_SENSITIVITY = 2.0
"""L2 sensitivity of a clipped state, in units of the clip norm: the largest distance of two."""

_PER_UNIT = 10**9
"""A privacy cost is mu squared in billionths, an integer, so that sums are exact."""
_MOST_DIGITS = 300
"""Decimals that epsilon is printed with at most: a power of ten beyond is no float."""
_ROUNDING = 1e-10
"""Relative margin added to computed bounds; the numerical error is far smaller."""


class Guarantee(DescribedModel):
    """The guarantee for the states that were sent: (epsilon, delta)-DP per ``unit``."""

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    """Null if a state or probabilities were sent without noise: then no bound holds."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The probability with which the bound may fail."""
    unit: Unit
    """The unit over whose states the guarantee holds."""
    relation: str = RELATION
    """The neighbouring relation."""
    label: Literal["privacy", "noise", "none"]
    """Label of the guarantee: `privacy` up to epsilon 10, `noise` above, `none` without a bound."""
    only_states_have_noise: bool = False
    """Whether there is no bound although the states had noise, since probabilities were sent with
    them, which never have any."""

    @classmethod
    def from_privacy_cost(
        cls,
        cost: int,
        delta: float,
        unit: Unit = "caption",
        *,
        only_states_have_noise: bool = False,
    ) -> Self:
        """Return the guarantee for the total privacy cost of a unit's states and draft weights.

        ``only_states_have_noise`` says why there is no bound, if there is none.
        """
        epsilon = epsilon_of_privacy_cost(cost, delta)
        if math.isinf(epsilon):
            return cls(
                epsilon=None,
                delta=delta,
                unit=unit,
                label="none",
                only_states_have_noise=only_states_have_noise,
            )
        return cls(epsilon=epsilon, delta=delta, unit=unit, label=_label(epsilon))

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if self.label != ("none" if self.epsilon is None else _label(self.epsilon)):
            raise ValueError("the label does not match epsilon: only up to 10 is it privacy")
        if self.only_states_have_noise and self.epsilon is not None:
            raise ValueError("a bound holds, so that nothing was sent without noise")
        return self

    def text(self) -> str:
        """Return a short text, without the relation; epsilon is rounded up."""
        if self.epsilon is None:
            why = "the probabilities have no noise" if self.only_states_have_noise else "no noise"
            return f"no guarantee ({why})"
        epsilon = _rounded_up(self.epsilon)
        return f"epsilon {epsilon} at delta {self.delta:g} per {self.unit} ({self.label})"


def delta_from_mu(*, epsilon: float, mu: float) -> float:
    """Return the smallest delta at which mu-GDP implies (epsilon, delta)-DP; both at least 0."""
    if mu == 0:
        return 0.0
    if math.isinf(mu):
        return 1.0
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # exp(epsilon) phi(far) = phi(near): both terms share a density, which is factored out.
    density = math.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    if near > 0:
        return density * (_mills(near) - _mills(far))
    return max(0.0, 0.5 * math.erfc(near / math.sqrt(2)) - density * _mills(far))


def epsilon_from_mu(*, mu: float, delta: float) -> float:
    """Return the smallest epsilon at ``delta``, in (0, 1), rounded up; infinite if ``mu`` is."""
    if math.isinf(mu):
        return math.inf
    if delta_from_mu(epsilon=0.0, mu=mu) <= delta:
        return 0.0
    # Phi(-near) alone is at most delta from here on.
    most = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    _, above = _bisected(0.0, most, lambda epsilon: delta_from_mu(epsilon=epsilon, mu=mu) > delta)
    return above * (1 + _ROUNDING)


def sigma_from_epsilon(
    *, epsilon: float, delta: float, sensitivity: float, releases: int = 1
) -> float:
    """Return the smallest sigma at which ``releases``, each charged by itself, stay within
    ``epsilon`` at ``delta``; infinite if even a cost of one unit each would be too much."""
    most = privacy_cost_of_epsilon(epsilon, delta) // releases
    if not most:
        return math.inf
    sigma = sensitivity * math.sqrt(_PER_UNIT / most)
    while privacy_cost(sensitivity=sensitivity, sigma=sigma, vectors=1) > most:
        sigma = math.nextafter(sigma, math.inf)
    return sigma


@lru_cache(maxsize=1024)
def privacy_cost(*, sensitivity: float, sigma: float, vectors: int) -> int:
    """Return the cost of ``vectors`` with noise ``sigma``: mu squared in billionths, rounded up.

    Noise so small that the cost would exceed ``UNBOUNDED_COST`` counts as no noise.
    """
    exact = vectors * (Fraction(sensitivity) / Fraction(sigma)) ** 2
    return min(math.ceil(exact * _PER_UNIT), UNBOUNDED_COST)


def block_privacy_cost(sigma: float | None, *, num_states: int, has_draft_weights: bool) -> int:
    """Return the privacy cost of a block with ``num_states`` states and noise of ``sigma`` clip
    norms, or ``None`` without noise.

    Draft weights never have noise, so that a block with them has an unbounded cost, whatever sigma.
    """
    if has_draft_weights or (num_states and sigma is None):
        return UNBOUNDED_COST
    if sigma is None or not num_states:
        return 0
    return privacy_cost(sensitivity=STATE_SENSITIVITY, sigma=sigma, vectors=num_states)


@lru_cache(maxsize=1024)
def epsilon_of_privacy_cost(cost: int, delta: float) -> float:
    """Return the epsilon of a privacy cost, rounded up; infinite from ``UNBOUNDED_COST`` on."""
    if cost >= UNBOUNDED_COST:
        return math.inf
    return epsilon_from_mu(mu=_mu_of_privacy_cost(cost), delta=delta)


@lru_cache(maxsize=1024)
def privacy_cost_of_epsilon(epsilon: float, delta: float) -> int:
    """Return the largest privacy cost within ``epsilon`` at ``delta``, below ``UNBOUNDED_COST``."""
    within, beyond = 0, UNBOUNDED_COST
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if epsilon_from_mu(mu=_mu_of_privacy_cost(middle), delta=delta) <= epsilon:
            within = middle
        else:
            beyond = middle
    return within


def _label(epsilon: float) -> Literal["privacy", "noise"]:
    return "privacy" if epsilon <= MAX_PRIVACY_EPSILON else "noise"


def _rounded_up(epsilon: float) -> str:
    """Format epsilon with three digits, rounded up so that the printed bound holds too. A foreign
    report may name the smallest number there is."""
    digits = min(2 - math.floor(math.log10(epsilon)), _MOST_DIGITS) if epsilon else 0
    rounded = math.ceil(Fraction(epsilon) * Fraction(10) ** digits) / 10.0**digits
    return f"{rounded:.{max(0, digits)}f}"


def _mu_of_privacy_cost(cost: int) -> float:
    return math.sqrt(cost / _PER_UNIT)


def _mills(x: float) -> float:
    """Return Mills' ratio, Phi(-x) / phi(x), for ``x >= 0``, to 13 digits."""
    if x < 5:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    tail = x  # Laplace's continued fraction, from the far end
    for n in range(60, 0, -1):
        tail = x + n / tail
    return 1 / tail


def _bisected(low: float, high: float, low_side: Callable[[float], bool]) -> tuple[float, float]:
    """Return two close numbers: ``low_side`` holds for the first, but not for the second."""
    while high - low > high * 1e-13:
        middle = (low + high) / 2
        if low_side(middle):
            low = middle
        else:
            high = middle
    return low, high
