"""The engine compared with a reference that has no cache and scores each position from scratch."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_privacy.dp.mechanism import MAX_EXPONENT
from ugsd_privacy.protocol.messages import (
    AskedSlot,
    Block,
    ContinueTo,
    RefusalCode,
)
from ugsd_server.errors import BlockRefused
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, Greedy, Rank, Typical
from ugsd_server.verifier.engine import CaptionState, Verifier

from tests.server.reference_verifier import CONTENT, VALUES, ReferenceVerifier

RULES: list[Acceptance] = [Typical(), Greedy(), Rank(rank=3), Rank(rank=11)]
NO_CONTINUATION = ContinuationRule(after_acceptance=False)
PLAUSIBLE = 24
"""Passes that the average over plausible states takes at most."""
"""Writes nothing after an accepted block."""


@st.composite
def _turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Blocks described by offsets, which :func:`_concrete` applies to the verifier's tokens."""
    token = st.integers(2, 11)
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "roll_back": st.sampled_from([0, 0, 0, 1, 2, 5, 99]),
                    "prefix": st.lists(token, max_size=3),
                    "tokens": st.lists(token, min_size=1, max_size=5),
                    "end": st.booleans(),
                    "states": st.lists(
                        st.tuples(st.integers(0, 19), st.tuples(*[st.integers(-127, 127)] * 3)),
                        max_size=4,
                    ),
                    "slot": st.sampled_from(AskedSlot),
                    "continue_to": st.sampled_from(ContinueTo),
                    "projection": st.integers(0, 1),
                    "exponent": st.integers(0, MAX_EXPONENT),
                }
            ),
            min_size=1,
            max_size=8,
        )
    )


def _concrete(turn: dict[str, Any], known: tuple[int, ...], make_block: Any) -> Block:
    whole = len(known) - (known[-1:] == (1,))  # nothing follows the end token
    keep = max(0, min(whole, 12) - turn["roll_back"])
    prefix = tuple(turn["prefix"][: 19 - keep])
    tokens = tuple(turn["tokens"][: 20 - keep - len(prefix)])
    if turn["end"]:
        tokens = (*tokens[:-1], 1)
    end = keep + len(prefix) + len(tokens)
    states = {i: row for i, row in turn["states"] if i < end}
    asked = {name: turn[name] for name in ("slot", "continue_to", "projection", "exponent")}
    block: Block = make_block(tokens, keep=keep, prefix=prefix, states=states, **asked)
    return block


@settings(max_examples=150, deadline=None)
@given(
    turns=_turns(),
    rule=st.sampled_from(RULES),
    more=st.sampled_from(
        [
            ContinuationRule(),
            ContinuationRule(3),
            ContinuationRule(0),
            ContinuationRule(64, 0.5),
            NO_CONTINUATION,
        ]
    ),
    cache_bytes=st.sampled_from([0, 10**9]),
)
def test_cached_verdicts_equal_uncached_after_any_rollbacks(
    make_scorer: Any,
    make_block: Any,
    turns: list[dict[str, Any]],
    rule: Acceptance,
    more: ContinuationRule,
    cache_bytes: int,
) -> None:
    model = {"content": CONTENT, "projections": 2, "values": VALUES}
    scorer = make_scorer(**model)
    verifier = Verifier(
        scorer,
        acceptance=rule,
        question_acceptance=rule,
        continuation=more,
        cache_bytes=cache_bytes,
    )
    verifier.load()
    reference = ReferenceVerifier(make_scorer(**model), rule, more)
    caption = CaptionState()
    for turn in turns:
        block = _concrete(turn, caption.tokens, make_block)
        before, earlier = scorer.passes, dict(caption.states)
        verdict = verifier.verify(caption, block)
        assert verdict == reference.verify(block)
        assert list(caption.tokens) == reference.tokens
        assert caption.states == reference.states
        continues = block.continue_to is not ContinueTo.NOTHING and (
            verdict.correction is not None or (more.after_acceptance and caption.states)
        )
        stopped_early = bool(continues) and len(verdict.continuation) < more.max_tokens
        has_noise = block.exponent > 0 or any(state[1] for state in earlier.values())
        is_averaged = block.slot is AskedSlot.EMOTION and has_noise
        passes = scorer.passes - before - is_averaged * PLAUSIBLE
        assert passes <= 1 + len(verdict.continuation) + stopped_early
        if verdict.correction is not None:
            assert verdict.correction != block.tokens[verdict.accepted]
        elif not continues:
            assert verdict.continuation == ()


@pytest.fixture
def verifier(make_scorer: Callable[..., Any]) -> tuple[Verifier, Any]:
    scorer = make_scorer()
    verifier = Verifier(scorer, acceptance=Rank(rank=12), continuation=NO_CONTINUATION)
    verifier.load()
    return verifier, scorer


@pytest.mark.parametrize(
    ("more", "continues"), [(ContinuationRule(), True), (NO_CONTINUATION, False)]
)
def test_verifier_continues_accepted_block_only_with_state(
    make_scorer: Any, make_block: Any, more: ContinuationRule, continues: bool
) -> None:
    verifier = Verifier(make_scorer(), acceptance=Rank(12), continuation=more)
    verifier.load()
    with_state = verifier.verify(CaptionState(), make_block((3, 4), states={0: (1, 2, 3)}))
    without = verifier.verify(CaptionState(), make_block((3, 4)))
    assert (with_state.accepted, with_state.correction) == (2, None)
    assert (without.accepted, without.correction) == (2, None)
    assert bool(with_state.continuation) == continues
    assert not without.continuation


def test_kept_prefix_is_not_recomputed(verifier: tuple[Verifier, Any], make_block: Any) -> None:
    engine, scorer = verifier
    caption = CaptionState()
    engine.verify(caption, make_block((2, 3, 4)))
    assert scorer.inputs_run == 3  # the start token, 2, 3
    engine.verify(caption, make_block((5, 6), keep=3))
    assert (scorer.inputs_run, scorer.passes) == (5, 2)  # 4, 5
    engine.verify(caption, make_block((7,), keep=4))
    assert scorer.inputs_run == 6  # 5 is cached but its row is needed again


def test_later_state_reruns_from_its_position(
    verifier: tuple[Verifier, Any], make_block: Any
) -> None:
    engine, scorer = verifier
    caption = CaptionState()
    engine.verify(caption, make_block((2, 3, 4)))
    engine.verify(caption, make_block((5,), keep=3, states={1: (1, 2, 3)}))
    assert scorer.inputs_run == 3 + 3
    assert caption.states == {1: (0, 0, bytes([1, 2, 3]))}


def test_rollback_drops_states_of_dropped_tokens(
    verifier: tuple[Verifier, Any], make_block: Any
) -> None:
    engine, _ = verifier
    caption = CaptionState()
    states = {i: (i + 1, 0, 0) for i in range(5)}
    engine.verify(caption, make_block((2, 3, 4, 5, 6), states=states))
    engine.verify(caption, make_block((7, 8), keep=2))
    assert sorted(caption.states) == [0, 1, 2]  # position 2 was drafted from the kept two tokens


def test_without_state_content_words_are_not_rejected(make_scorer: Any, make_block: Any) -> None:
    scorer = make_scorer(content=frozenset(range(2, 12)))
    verifier = Verifier(scorer, acceptance=Greedy())
    verifier.load()
    caption = CaptionState()
    verdict = verifier.verify(caption, make_block((2, 3, 4, 5, 6, 7)))
    assert verdict.accepted == 6
    verdict = verifier.verify(caption, make_block((8, 9, 10), keep=6, states={6: (9, 9, 9)}))
    assert verdict.correction is not None  # with a state it may correct content words
    assert caption.tokens[:6] == (2, 3, 4, 5, 6, 7)


def test_without_state_verifier_writes_no_content_words(make_scorer: Any, make_block: Any) -> None:
    for first in range(2, 12):
        scorer = make_scorer(content=CONTENT)
        verifier = Verifier(scorer, acceptance=Greedy())
        verifier.load()
        verdict = verifier.verify(CaptionState(), make_block((first, 2, 3)))
        assert verdict.correction not in CONTENT
        assert not CONTENT & set(verdict.continuation)


@pytest.mark.parametrize(
    ("kwargs", "code"),
    [
        ({"keep": 1}, RefusalCode.UNKNOWN_PREFIX),
        ({"tokens": (2,) * 21}, RefusalCode.TOO_LARGE),
        ({"prefix": (2,) * 18}, RefusalCode.TOO_LARGE),
        ({"tokens": (12,)}, RefusalCode.BAD_MESSAGE),
        ({"prefix": (2**20 - 1,)}, RefusalCode.BAD_MESSAGE),
        ({"tokens": (2, 1, 3)}, RefusalCode.BAD_MESSAGE),
        ({"prefix": (1,)}, RefusalCode.BAD_MESSAGE),
        ({"states": {0: (1, 2)}}, RefusalCode.BAD_MESSAGE),
        ({"states": {0: (1, 2, 3, 4)}}, RefusalCode.BAD_MESSAGE),
        ({"states": {0: (1, 2, 3)}, "projection": 1}, RefusalCode.BAD_MESSAGE),
        ({"slot": AskedSlot.EMOTION}, RefusalCode.BAD_MESSAGE),
    ],
)
def test_invalid_block_is_refused_and_changes_nothing(
    verifier: tuple[Verifier, Any], make_block: Any, kwargs: dict[str, Any], code: RefusalCode
) -> None:
    engine, scorer = verifier
    caption = CaptionState()
    with pytest.raises(BlockRefused) as refused:
        engine.verify(caption, make_block(**kwargs))
    assert refused.value.code is code
    assert (caption.tokens, caption.states, scorer.passes) == ((), {}, 0)


def test_caption_continues_after_failed_forward_pass(make_scorer: Any, make_block: Any) -> None:
    scorer = make_scorer()
    engine = Verifier(scorer, acceptance=Greedy())
    engine.load()
    caption, twin = CaptionState(), CaptionState()
    for state in (caption, twin):
        engine.verify(state, make_block((5,), prefix=(2, 3, 4)))
    scorer.fail_next = True
    with pytest.raises(RuntimeError):
        engine.verify(caption, make_block((9, 8, 7), keep=1))
    again = make_block((5, 6), keep=3)
    assert engine.verify(caption, again) == engine.verify(twin, again)
    assert caption.tokens == twin.tokens


def test_cache_ceiling_drops_least_recently_used_caption(make_scorer: Any, make_block: Any) -> None:
    verifier = Verifier(make_scorer(), acceptance=Rank(rank=12), cache_bytes=7)  # inputs, here
    verifier.load()
    captions = [CaptionState() for _ in range(3)]
    for caption in captions:
        verifier.verify(caption, make_block((2, 3, 4)))
    assert [caption.cache_bytes for caption in captions] == [0, 3, 3]
    verifier.verify(captions[1], make_block((5,), keep=3))
    assert [caption.cache_bytes for caption in captions] == [0, 4, 3]
    verifier.verify(captions[0], make_block((5,), keep=3))
    assert [caption.cache_bytes for caption in captions] == [4, 0, 0]


def test_dropped_caption_is_freed(make_scorer: Any, make_block: Any) -> None:
    verifier = Verifier(make_scorer(), acceptance=Rank(rank=12))
    verifier.load()
    caption = CaptionState()
    verifier.verify(caption, make_block((2, 3, 4)))
    trace = weakref.ref(caption)
    del caption
    gc.collect()
    assert trace() is None
