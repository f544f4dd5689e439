"""stub until merged"""

import math
from dataclasses import dataclass

UNBOUNDED = 2**60
RELATION = "stub relation"


def spend(*, sensitivity: float, sigma: float, vectors: int) -> int:
    return math.ceil(1e9 * vectors * (sensitivity / sigma) ** 2)


def epsilon_of_spend(spend: int, delta: float) -> float:
    return math.inf if spend >= UNBOUNDED else math.sqrt(spend / 1e9) * 4


def spend_of(epsilon: float, delta: float) -> int:
    return int((epsilon / 4) ** 2 * 1e9)


def sigma_of(*, epsilon: float, delta: float, sensitivity: float, releases: int = 1) -> float:
    return 4 * sensitivity * math.sqrt(releases) / epsilon


@dataclass(frozen=True)
class Guarantee:
    epsilon: float
    delta: float
    unit: str
    relation: str = RELATION

    @property
    def word(self) -> str:
        return "privacy" if self.epsilon <= 10 else "noise"
