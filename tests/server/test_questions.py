"""A question about a slot: its values are judged, its wording is not, in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import exponent_of
from ugsd_privacy.protocol.messages import AskedSlot, Block, ContinueTo, Verdict
from ugsd_server.errors import BlockRefused
from ugsd_server.verifier.acceptance import Acceptance, Greedy, Rank, Typical
from ugsd_server.verifier.engine import CaptionState, Verifier

from tests.doubles.fake_scorer import FakeScorer, Input
from tests.server.reference_verifier import CONTENT, VALUES

THE, SOUNDS, CALM, SERENE, SAD, ANGRY = 2, 3, 4, 5, 6, 7
"""Wording, two words for one emotion, and two other emotions."""
ASKED = {"slot": AskedSlot.EMOTION, "continue_to": ContinueTo.NOTHING}
STATE = {0: (1, 2, 3)}


class WeighingScorer(FakeScorer):
    """Gives tokens the same probabilities at every position; records the states that it is given.
    Tokens that are not listed are improbable."""

    def __init__(self, like: FakeScorer, weights: Mapping[int, float]) -> None:
        super().__init__(like.info)
        self._weights = weights
        self.states: list[NDArray[np.float32]] = []

    def logits(self, inputs: list[Input]) -> NDArray[np.float32]:
        weights = np.full(self.info.vocabulary_size, 1e-6)
        for token, weight in self._weights.items():
            weights[token] = weight
        logits: NDArray[np.float32] = np.log(weights).astype(np.float32)
        return logits

    def extend(self, cache: Any, tokens: Any, states: Any, has_state: Any) -> Any:
        self.states.append(states)
        return super().extend(cache, tokens, states, has_state)


@pytest.fixture
def ask(make_scorer: Any) -> Any:
    """Return the verdict on a block if the verifier gives tokens these probabilities."""

    def ask(
        block: Block, weights: Mapping[int, float], rule: Acceptance | None = None
    ) -> tuple[Verdict, WeighingScorer]:
        model = make_scorer(content=CONTENT, projections=2, values=VALUES)
        scorer = WeighingScorer(model, weights)
        verifier = Verifier(scorer, question_acceptance=rule)
        verifier.load()
        return verifier.verify(CaptionState(), block), scorer

    return ask


def test_probabilities_of_synonyms_are_added(ask: Any, make_block: Any) -> None:
    weights = {CALM: 0.3, SERENE: 0.3, SAD: 0.4}
    for word in (CALM, SERENE):
        verdict, _ = ask(make_block((THE, SOUNDS, word), states=STATE, **ASKED), weights)
        assert (verdict.accepted, verdict.correction) == (3, None)
    verdict, _ = ask(make_block((THE, SOUNDS, SAD), states=STATE, **ASKED), weights)
    assert (verdict.accepted, verdict.correction) == (2, CALM)


def test_correction_is_likeliest_token_of_likeliest_value(ask: Any, make_block: Any) -> None:
    weights = {THE: 0.9, CALM: 0.02, SERENE: 0.03, ANGRY: 0.04, SAD: 0.01}
    verdict, _ = ask(make_block((THE, SOUNDS, SAD), states=STATE, **ASKED), weights)
    assert (verdict.accepted, verdict.correction) == (2, SERENE)


@pytest.mark.parametrize("rule", [Greedy(), Typical(), Rank(rank=1)])
def test_wording_is_never_rejected(ask: Any, make_block: Any, rule: Acceptance) -> None:
    verdict, _ = ask(make_block((8, 9, 10, SAD, 11), states=STATE, **ASKED), {SAD: 1.0}, rule)
    assert (verdict.accepted, verdict.correction) == (5, None)
    verdict, _ = ask(make_block((8, 9, 10), states=STATE), {SAD: 1.0}, rule)
    assert verdict.accepted == 0, "by tokens it is"


def test_without_state_no_value_is_rejected(ask: Any, make_block: Any) -> None:
    for given_word in (CALM, SAD, ANGRY):
        verdict, _ = ask(make_block((THE, SOUNDS, given_word), **ASKED), {SERENE: 1.0})
        assert (verdict.accepted, verdict.correction) == (3, None)


@settings(deadline=None)
@given(
    words=st.lists(st.integers(2, 11), min_size=1, max_size=9).map(tuple),
    has_state=st.booleans(),
    rule=st.sampled_from([Greedy(), Typical(), Rank(rank=1)]),
)
def test_question_takes_one_forward_pass(
    make_scorer: Any, make_block: Any, words: tuple[int, ...], has_state: bool, rule: Acceptance
) -> None:
    scorer = make_scorer(content=CONTENT, values=VALUES)
    verifier = Verifier(scorer, question_acceptance=rule)
    verifier.load()
    block = make_block(words, states=STATE if has_state else None, **ASKED)
    verdict = verifier.verify(CaptionState(), block)
    assert (scorer.passes, verdict.continuation) == (1, ())


@pytest.mark.parametrize("projection", [0, 1])
def test_state_fills_columns_of_its_projection_alone(
    ask: Any, make_block: Any, projection: int
) -> None:
    _, scorer = ask(make_block(states={0: (127, -127, 0)}, projection=projection), {SAD: 1.0})
    (rows, *_) = scorer.states
    own = rows[0].reshape(2, 3)
    np.testing.assert_array_equal(own[projection], np.array([1, -1, 0], dtype=np.float32))
    assert not own[1 - projection].any()
    assert not rows[1:].any()


@settings(deadline=None)
@given(exponent=st.integers(0, 10), numbers=st.tuples(*[st.integers(-127, 127)] * 3))
def test_exponent_scales_the_state(
    make_scorer: Any, make_block: Any, exponent: int, numbers: tuple[int, ...]
) -> None:
    scorer = WeighingScorer(make_scorer(), {SAD: 1.0})
    verifier = Verifier(scorer)
    verifier.load()
    verifier.verify(CaptionState(), make_block(states={0: numbers}, exponent=exponent))
    expected = np.array(numbers) / 127 * 2.0**exponent
    np.testing.assert_allclose(scorer.states[0][0], expected, rtol=1e-6)


def test_states_of_other_scale_are_not_cached(make_scorer: Any, make_block: Any) -> None:
    verifier = Verifier(make_scorer(projections=2), question_acceptance=Rank(rank=12))
    verifier.load()
    for changes in ({}, {"exponent": 1}, {"projection": 1}):
        caption = CaptionState()
        verifier.verify(caption, make_block(states=STATE))
        again = make_block(states=STATE, **changes)
        fresh = CaptionState()
        assert verifier.verify(caption, again) == verifier.verify(fresh, again)


def test_welcome_lists_every_projection(make_scorer: Any) -> None:
    verifier = Verifier(make_scorer(projections=3))
    welcome = verifier.welcome()
    assert welcome.projections == verifier.info.projections
    assert len(set(welcome.projections)) == 3


@pytest.mark.parametrize(("length", "is_refused"), [(32, False), (33, True)])
def test_long_question_with_noise_is_refused(
    make_scorer: Any, length: int, is_refused: bool
) -> None:
    scorer = make_scorer(content=CONTENT, projections=2, values=VALUES, max_tokens=64)
    verifier = Verifier(scorer)
    verifier.load()
    block = Block(
        caption=0, tokens=(*[THE] * (length - 1), CALM), state_positions=(0,),
        states=bytes((1, 2, 3)), exponent=1, **ASKED,
    )  # fmt: skip
    before = scorer.passes
    with pytest.raises(BlockRefused) if is_refused else nullcontext():
        verifier.verify(CaptionState(), block)
    assert (scorer.passes == before) == is_refused


class FollowingScorer(FakeScorer):
    """Is sure of the emotion that the sign of a state's first coordinate says."""

    def logits(self, inputs: list[Input]) -> NDArray[np.float32]:
        state = next((state for _, state in inputs if state is not None), None)
        scores = np.full(self.info.vocabulary_size, -9, dtype=np.float32)
        scores[SAD if state is None or state[0] > 0 else ANGRY] = 9
        return scores


@pytest.mark.parametrize(("sigma", "correction"), [(None, SAD), (0.1, SAD), (4.0, None)])
def test_strong_noise_corrects_nothing(
    make_scorer: Any, sigma: float | None, correction: int | None
) -> None:
    scorer = FollowingScorer(make_scorer(content=CONTENT, projections=2, values=VALUES).info)
    verifier = Verifier(scorer)
    verifier.load()
    received = np.array([1, 0.1, 0]) * 127 / 2 ** exponent_of(sigma)
    block = Block(
        caption=0, tokens=(THE, SOUNDS, ANGRY), state_positions=(0,),
        states=received.astype(np.int8).tobytes(), exponent=exponent_of(sigma), **ASKED,
    )  # fmt: skip
    assert verifier.verify(CaptionState(), block).correction == correction
