"""The acceptance rules compared with cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_server.verifier.acceptance import (
    Acceptance,
    Greedy,
    Rank,
    Typical,
    probabilities,
)

RULES: list[Acceptance] = [
    Typical(),
    Typical(epsilon=1, delta=1),
    Greedy(),
    Rank(),
    Rank(rank=1),
]


def _p(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_typical_uses_epsilon_for_confident_verifier() -> None:
    # H = -.9 ln .9 - .1 ln .1 = .3251; .5 e^-H = .3612, so epsilon = .3 is the threshold.
    assert Typical().accepts(_p(0.9, 0.1), 0)
    assert not Typical().accepts(_p(0.9, 0.1), 1)
    # H = -.65 ln .65 - .35 ln .35 = .6474; .5 e^-H = .2617: entropy sets the threshold.
    assert Typical().accepts(_p(0.65, 0.35), 1)
    assert not Typical().accepts(_p(0.75, 0.25), 1)  # H = .5623, .5 e^-H = .2850


def test_typical_accepts_synonyms_at_high_entropy() -> None:
    # Four equal words: H = ln 4, .5 e^-H = .125 <= .25.
    assert all(Typical().accepts(_p(0.25, 0.25, 0.25, 0.25), token) for token in range(4))
    # H = -.4 ln .4 - 5 * .12 ln .12 = 1.6387; .5 e^-H = .0971 <= .12.
    assert Typical().accepts(_p(0.4, 0.12, 0.12, 0.12, 0.12, 0.12), 5)


def test_typical_ignores_impossible_tokens_in_entropy() -> None:
    assert Typical().accepts(_p(1.0, 0.0), 0)
    assert not Typical().accepts(_p(1.0, 0.0), 1)


def test_greedy_accepts_only_most_likely_lowest_id() -> None:
    assert Greedy().accepts(_p(0.2, 0.5, 0.3), 1)
    assert not Greedy().accepts(_p(0.2, 0.5, 0.3), 2)
    assert Greedy().accepts(_p(0.5, 0.5), 0)
    assert not Greedy().accepts(_p(0.5, 0.5), 1)


def test_rank_counts_only_likelier_tokens() -> None:
    p = _p(0.4, 0.3, 0.2, 0.1)
    assert [Rank(rank=2).accepts(p, token) for token in range(4)] == [True, True, False, False]
    assert Rank(rank=2).accepts(_p(0.4, 0.2, 0.2, 0.2), 3)  # tied for second


def test_rank_defaults_to_twenty_as_in_paper() -> None:
    p = probabilities(-np.arange(30, dtype=np.float32), None)
    assert Rank().accepts(p, 19)
    assert not Rank().accepts(p, 20)


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(logits=st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=40))
def test_no_rule_rejects_most_likely_token(rule: Acceptance, logits: list[float]) -> None:
    p = probabilities(np.array(logits, dtype=np.float32), None)
    assert rule.accepts(p, int(p.argmax()))


def test_probabilities_handle_large_logits_and_mask() -> None:
    p = probabilities(np.array([3e38, 3e38, -3e38], dtype=np.float32), None)
    np.testing.assert_allclose(p, [0.5, 0.5, 0])
    masked = np.array([True, False, False])
    p = probabilities(np.array([9.0, 1.0, 0.0], dtype=np.float32), masked)
    np.testing.assert_allclose(p, [0, math.e / (math.e + 1), 1 / (math.e + 1)])
