"""stub until merged"""

import math
from dataclasses import dataclass

UNBOUNDED = 2**60
RELATION = "stub relation"


def spend(*, sensitivity, sigma, vectors):
    return math.ceil(1e9 * vectors * (sensitivity / sigma) ** 2)


def epsilon_of_spend(spend, delta):
    return math.inf if spend >= UNBOUNDED else math.sqrt(spend / 1e9) * 4


def spend_of(epsilon, delta):
    return int((epsilon / 4) ** 2 * 1e9)


def sigma_of(*, epsilon, delta, sensitivity, releases=1):
    return 4 * sensitivity * math.sqrt(releases) / epsilon


@dataclass(frozen=True)
class Guarantee:
    epsilon: float
    delta: float
    unit: str
    relation: str = RELATION

    @property
    def word(self):
        return "privacy" if self.epsilon <= 10 else "noise"

    def text(self):
        return f"epsilon {self.epsilon:.3g} at delta {self.delta:g} per {self.unit}, {self.relation}: {self.word}"
