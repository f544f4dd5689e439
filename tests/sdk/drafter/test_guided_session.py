"""Proposals change how many steps a caption takes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ugsd_sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.drafter.bundle import SLOTS_FILE, DrafterBundle
from ugsd_sdk.drafter.clause_guide import ClauseGuide
from ugsd_sdk.drafter.guided_session import GuidedDraftSession, Proposer, no_proposals
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.proposals import CaptionProposer
from ugsd_sdk.drafter.slot_table import parse_slots
from ugsd_sdk.onnx_sessions import onnx_session

from tests.sdk.drafter.test_clause_guide import BOS, END, EOS, TABLE, plans

STARTER = Path(ugsd_sdk.__file__).parent / "starter"
MAX_TOKENS = 48
SIZE = len(TABLE.slots)
EMPTY_PAST = np.zeros((1, 2, 1, 1, 0, 1), dtype=np.float32)
NO_STATE = np.zeros(0, dtype=np.float32)
PLAN = CaptionPlan(CaptionLength.NORMAL, {Slot.PACE: "fast", Slot.PITCH: "low"})

tokens_of_words = st.integers(EOS + 1, SIZE - 1)
proposers = st.lists(st.lists(st.integers(0, SIZE - 1), max_size=12), max_size=12)
"""What a proposer says one time after another; then nothing."""


class CountingDecoder:
    """A decoder whose logits depend on all tokens before them, which are its cache, and on no
    others. So a cache that is wrong shows in them."""

    def __init__(self) -> None:
        self.steps = 0

    def step(
        self, tokens: NDArray[np.int64], past: NDArray[np.float32]
    ) -> Sequence[NDArray[np.float32]]:
        self.steps += 1
        assert tokens.size
        assert past.shape[4] + tokens.size <= MAX_TOKENS + 1, "more positions than it has"
        read = past[0, 0, 0, 0, :, 0].astype(np.int64).tolist()
        assert not read or read[0] == BOS
        rows = []
        for token in tokens[0].tolist():
            read.append(token)
            rows.append(np.random.default_rng(read).normal(0, 3, SIZE).astype(np.float32))
        kept = np.array(read, dtype=np.float32).reshape(1, 1, 1, 1, -1, 1)
        return [np.stack(rows)[None], np.concatenate([kept, kept], 1)]


def session_of(
    decoder: CountingDecoder, propose: Proposer, plan: CaptionPlan = PLAN
) -> GuidedDraftSession:
    return GuidedDraftSession(
        decoder.step,
        ClauseGuide(plan, TABLE, END, EMOTIONS),
        propose=propose,
        state=NO_STATE,
        bos=BOS,
        max_tokens=MAX_TOKENS,
        empty_past=EMPTY_PAST,
    )


def saying(proposals: Sequence[Sequence[int]]) -> Proposer:
    remaining = iter(proposals)
    return lambda tokens: next(remaining, ())


def drafted(session: Any, *, eos: int = EOS, most: int = MAX_TOKENS) -> list[int]:
    while len(session.tokens) < most and (not session.tokens or session.tokens[-1] != eos):
        session.append([int(np.argmax(session.predict().choices))])
    return list(session.tokens)


def same_prediction(one: Any, other: Any) -> None:
    first, second = one.predict(), other.predict()
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.choices, second.choices)


@given(plan=plans, proposals=proposers)
def test_any_proposer_gives_the_same_caption(
    plan: CaptionPlan, proposals: Sequence[Sequence[int]]
) -> None:
    one_by_one = drafted(session_of(CountingDecoder(), no_proposals, plan))
    assert drafted(session_of(CountingDecoder(), saying(proposals), plan)) == one_by_one


@given(plan=plans, wrong=st.sets(st.integers(0, MAX_TOKENS - 1)))
def test_right_and_wrong_proposals_may_mix(plan: CaptionPlan, wrong: set[int]) -> None:
    caption = drafted(session_of(CountingDecoder(), no_proposals, plan))
    proposed = [token + (place in wrong) for place, token in enumerate(caption)]
    decoder = CountingDecoder()
    session = session_of(decoder, lambda tokens: proposed[len(tokens) :], plan)
    assert drafted(session) == caption
    assert decoder.steps <= 1 + len(wrong)


@given(
    proposals=proposers,
    edits=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.lists(tokens_of_words, min_size=1, max_size=3)),
            st.tuples(st.just("crop"), st.integers(0, 8)),
            st.tuples(st.just("draft"), st.integers(1, 4)),
        ),
        max_size=10,
    ),
)
def test_edited_session_equals_a_fresh_one(
    proposals: Sequence[Sequence[int]], edits: Sequence[tuple[str, Any]]
) -> None:
    session = session_of(CountingDecoder(), saying(proposals))
    for kind, what in edits:
        if kind == "append":
            session.append(what)
        elif kind == "crop":
            session.crop(max(0, len(session.tokens) - what))
        else:
            drafted(session, most=len(session.tokens) + what)
        fresh = session_of(CountingDecoder(), no_proposals)
        fresh.append(session.tokens)
        same_prediction(session, fresh)


def test_right_proposals_take_one_step() -> None:
    alone, proposed = CountingDecoder(), CountingDecoder()
    caption = drafted(session_of(alone, no_proposals))
    assert alone.steps == len(caption)
    session = session_of(proposed, lambda tokens: caption[len(tokens) : -1])
    assert drafted(session) == caption
    assert proposed.steps == 1


def test_tokens_that_were_read_are_not_read_again() -> None:
    decoder = CountingDecoder()
    session = session_of(decoder, no_proposals)
    caption = drafted(session)
    session.crop(3)
    session.predict()
    session.append(caption[3:6])
    session.predict()
    assert decoder.steps == len(caption)


def test_proposals_stop_at_the_longest_caption() -> None:
    session = session_of(CountingDecoder(), lambda tokens: [STOP_NEVER] * 1000)
    session.predict()
    session.append([STOP_NEVER] * (MAX_TOKENS - 1))
    session.predict()


STOP_NEVER = TABLE.values[Slot.PACE]["fast"][0]


@pytest.fixture(scope="module")
def starter() -> OnnxDrafter:
    drafter = OnnxDrafter(STARTER)
    drafter.load()
    return drafter


@pytest.fixture(scope="module")
def starter_sessions() -> Callable[[ConditionedClip, Proposer], GuidedDraftSession]:
    bundle = DrafterBundle(STARTER)
    d = bundle.description()
    files, pieces = bundle.files(d), bundle.pieces()
    table = parse_slots(files[SLOTS_FILE], num_tokens=len(pieces))
    end = type(END).of(table, pieces, d.eos)
    decoder = onnx_session(files["decoder.onnx"])

    def start(clip: ConditionedClip, propose: Proposer) -> GuidedDraftSession:
        assert clip.plan is not None
        rest = {"emotion": clip.decoder_input[None], "plan": clip.plan.features[None]}
        order = [EMOTIONS[place] for place in np.argsort(clip.decoder_input)[::-1]]
        return GuidedDraftSession(
            lambda tokens, past: decoder.run(None, {"tokens": tokens, "past": past, **rest}),
            ClauseGuide(clip.plan, table, end, order),
            propose=propose,
            state=clip.state,
            bos=d.bos,
            max_tokens=d.max_tokens,
            empty_past=np.zeros((d.layers, 2, 1, d.heads, 0, d.head_dim), dtype=np.float32),
        )

    return start


def clip_of(plan: CaptionPlan, seed: int) -> ConditionedClip:
    scores = np.random.default_rng(seed).normal(0, 2, len(EMOTIONS))
    log_probabilities = scores - np.log(np.exp(scores).sum())
    return ConditionedClip(log_probabilities.astype(np.float32), 1.0, plan=plan)


@settings(max_examples=25, deadline=None)
@given(
    plan=plans,
    seed=st.integers(0, 2**32),
    proposals=st.lists(st.lists(st.integers(0, 525), max_size=12), max_size=12),
)
def test_real_decoder_drafts_the_same_with_any_proposer(
    starter: OnnxDrafter,
    starter_sessions: Callable[[ConditionedClip, Proposer], GuidedDraftSession],
    plan: CaptionPlan,
    seed: int,
    proposals: Sequence[Sequence[int]],
) -> None:
    clip, eos = clip_of(plan, seed), starter.info.eos
    one_by_one = starter_sessions(clip, no_proposals)
    arbitrary = starter_sessions(clip, saying(proposals))
    usual = starter.start(clip)
    uncertainty = EntropyUncertainty()
    while not one_by_one.tokens or one_by_one.tokens[-1] != eos:
        prediction = one_by_one.predict()
        token = int(np.argmax(prediction.choices))
        for session in (arbitrary, usual):
            other = session.predict()
            assert int(np.argmax(other.choices)) == token
            expected = uncertainty(prediction.logits, 1.0)
            assert uncertainty(other.logits, 1.0) == pytest.approx(expected, abs=1e-5)
            session.append([token])
        one_by_one.append([token])


def test_starter_proposes_most_captions_whole(
    starter: OnnxDrafter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of another vocabulary, or features in another order, would go unnoticed: captions
    would be right and slow."""
    calls: list[int] = []
    propose = CaptionProposer.__call__

    def counted(self: CaptionProposer, tokens: Sequence[int]) -> Sequence[int]:
        calls.append(len(tokens))
        return propose(self, tokens)

    monkeypatch.setattr(CaptionProposer, "__call__", counted)
    num_captions = 0
    for length in CaptionLength:
        for seed in range(20):
            plan = CaptionPlan(
                length, {Slot.LOUDNESS: "loud", Slot.PITCH: "high"}, opening=seed % 10
            )
            drafted(starter.start(clip_of(plan, seed)), eos=starter.info.eos)
            num_captions += 1
    assert len(calls) <= 1.2 * num_captions
