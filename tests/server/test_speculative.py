"""Speculative acceptance alone: exact over all outcomes, and only for blocks that can be judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import quantise
from ugsd_privacy.protocol.messages import AskedSlot, Block, RefusalCode
from ugsd_server.errors import BlockRefused
from ugsd_server.verifier.acceptance import Greedy, Speculative
from ugsd_server.verifier.engine import CaptionState, Verifier

from tests.doubles.emotion_pair import EmotionClip, EmotionDrafter, EmotionScorer

Float64 = NDArray[np.float64]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Float64, Float64]:
    """Two distributions over the same values: any, and one of weights of 8 bits."""
    size = draw(st.integers(2, 12))
    finite = st.floats(0, 1, allow_subnormal=False)
    p = np.array(draw(st.lists(finite, min_size=size, max_size=size).filter(any)))
    weights = draw(st.lists(st.integers(0, 255), min_size=size, max_size=size).filter(any))
    return p / p.sum(), np.array(weights, dtype=np.float64) / sum(weights)


@settings(deadline=None)
@given(pairs())
def test_named_value_has_exactly_the_verifiers_distribution(pair: tuple[Float64, Float64]) -> None:
    p, q = pair
    named = sum(
        (q[drafted] * Speculative().outcomes(p, q, drafted) for drafted in np.flatnonzero(q)),
        start=np.zeros_like(p),
    )
    assert np.allclose(named, p, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(pairs())
def test_outcomes_are_a_distribution_that_keeps_most(pair: tuple[Float64, Float64]) -> None:
    p, q = pair
    rejected = sum(
        q[drafted] * (1 - Speculative().outcomes(p, q, drafted)[drafted])
        for drafted in np.flatnonzero(q)
    )
    assert rejected == pytest.approx(np.abs(p - q).sum() / 2, abs=1e-12)  # no rule rejects less
    for drafted in np.flatnonzero(q):
        outcomes = Speculative().outcomes(p, q, drafted)
        assert (outcomes >= 0).all()
        assert outcomes.sum() == pytest.approx(1)


@settings(deadline=None, max_examples=20)
@given(pairs(), st.data())
def test_random_numbers_cover_outcomes_exactly(
    pair: tuple[Float64, Float64], data: st.DataObject
) -> None:
    p, q = pair
    drafted = data.draw(st.sampled_from(np.flatnonzero(q).tolist()))
    steps = 1000
    numbers = iter((np.arange(steps) + 0.5) / steps)
    rule = Speculative(random=lambda: float(next(numbers)))
    counts = np.bincount([rule.value(p, q, drafted) for _ in range(steps)], minlength=len(p))
    assert np.abs(counts / steps - rule.outcomes(p, q, drafted)).max() <= 1 / steps + 1e-9


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_extreme_random_numbers_name_possible_values(number: float) -> None:
    p, q = np.array([0, 0.3, 0.7, 0]), np.array([0, 0.5, 0.5, 0])
    assert Speculative(random=lambda: number).value(p, q, 1) in {1, 2}


CLIP = EmotionClip(q=(0.5, 0.5, 0, 0, 0, 0, 0, 0, 0), p=(0, 0.2, 0.8, 0, 0, 0, 0, 0, 0))
DRAFTER = EmotionDrafter([CLIP])
SCORER = EmotionScorer([CLIP], DRAFTER.info)
NEUTRAL, CALM, HAPPY, SAD = SCORER.info.values[AskedSlot.EMOTION][:4]
EVEN = bytes([255, 255, 0, 0, 0, 0, 0, 0, 0])
STATE = quantise(np.eye(4, dtype=np.float32)[:1], 1.0)


def block(token: int, **changes: Any) -> Block:
    given: dict[str, Any] = {
        "caption": 0, "slot": AskedSlot.EMOTION, "tokens": (1, 2, 3, token),
        "state_positions": (0,), "states": STATE, "draft_weights": EVEN,
    }  # fmt: skip
    return Block(**(given | changes))


def verifier(*numbers: float) -> Verifier:
    left = iter(numbers)
    made = Verifier(SCORER, acceptance=Greedy(), speculative=Speculative(random=lambda: next(left)))
    made.load()
    return made


def test_rejected_value_is_corrected_to_its_likeliest_token() -> None:
    verdict = verifier(0.0).verify(CaptionState(), block(NEUTRAL[0]))
    assert (verdict.accepted, verdict.correction) == (3, HAPPY[1])


@pytest.mark.parametrize(("number", "correction"), [(0.39, None), (0.41, HAPPY[1])])
def test_draw_decides_between_draft_and_residual(number: float, correction: int | None) -> None:
    verdict = verifier(number).verify(CaptionState(), block(CALM[1]))
    assert verdict.correction == correction
    assert verdict.accepted == (4 if correction is None else 3)


def test_value_of_two_tokens_is_judged_once() -> None:
    two = block(CALM[0], tokens=(1, 2, 3, CALM[0], CALM[1]))
    kept = verifier(0.39).verify(CaptionState(), two)
    assert (kept.accepted, kept.correction) == (5, None)
    corrected = verifier(0.41).verify(CaptionState(), two)
    assert (corrected.accepted, corrected.correction) == (3, HAPPY[1])


def test_block_without_draft_weights_follows_own_rule() -> None:
    verdict = verifier().verify(CaptionState(), block(CALM[0], draft_weights=b""))
    assert verdict.correction == HAPPY[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"draft_weights": EVEN[:-1]},
        {"draft_weights": EVEN + b"\x00"},
        {"tokens": (1, 2, 3, SAD[0])},
        {"tokens": (1, 2, 3)},
        {"tokens": (1, 2, 3, CALM[0], HAPPY[0])},
        {"state_positions": (), "states": b""},
        {"state_positions": (1,)},
    ],
    ids=[
        "a weight too few", "a weight too many", "a value of weight 0", "no value", "two values",
        "no state", "a state after the start",
    ],
)  # fmt: skip
def test_draft_weights_that_cannot_be_judged_are_refused(changes: dict[str, Any]) -> None:
    caption = CaptionState()
    with pytest.raises(BlockRefused) as refused:
        verifier().verify(caption, block(CALM[0], **changes))
    assert refused.value.code is RefusalCode.BAD_MESSAGE
    assert caption.tokens == ()
