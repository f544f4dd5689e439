"""stub until merged"""

import math

UNBOUNDED = 2**60


def spend(*, sensitivity, sigma, vectors):
    return math.ceil(1e9 * vectors * (sensitivity / sigma) ** 2)


def epsilon_of_spend(spend, delta):
    return math.inf if spend >= UNBOUNDED else math.sqrt(spend / 1e9) * 4


def spend_of(epsilon, delta):
    return int((epsilon / 4) ** 2 * 1e9)
