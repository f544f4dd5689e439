"""The guide keeps any draft to its plan."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import MEASURED_SLOTS, WORDED_VALUES, CaptionPlan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter.clause_guide import CaptionEnd, ClauseGuide
from ugsd_sdk.drafter.slot_table import SlotTable, parse_slots

from tests.sdk.drafter.test_slot_table import some_slots

PAD, BOS, EOS, STOP = range(4)
TABLE: SlotTable = parse_slots(
    json.dumps(some_slots()).encode(), num_tokens=len(some_slots()["slots"])
)
PIECES = ["", "", "", ".", *(" word" for _ in TABLE.slots[STOP + 1 :])]
END = CaptionEnd.of(TABLE, PIECES, EOS)

plans = st.builds(
    CaptionPlan,
    length=st.sampled_from(CaptionLength),
    values=st.fixed_dictionaries(
        {}, optional={slot: st.sampled_from(WORDED_VALUES[slot]) for slot in MEASURED_SLOTS}
    ).map(lambda values: {slot: values[slot] for slot in MEASURED_SLOTS if slot in values}),
)


def drafted(plan: CaptionPlan, rng: np.random.Generator, given_tokens: Sequence[int]) -> list[int]:
    """Return what a decoder of random weights drafts after ``given_tokens``."""
    guide = ClauseGuide(plan, TABLE, END)
    tokens = list(given_tokens)
    while not tokens or tokens[-1] != EOS:
        allowed = guide.allowed(guide.state_of(tokens))
        assert allowed.any()
        tokens.append(int(rng.choice(np.flatnonzero(allowed))))
    return tokens


def clauses_of(tokens: Sequence[int]) -> list[tuple[Slot | None, list[int]]]:
    out: list[tuple[Slot | None, list[int]]] = []
    for token in tokens:
        slot = TABLE.slots[token]
        if not out or out[-1][0] is not slot:
            out.append((slot, []))
        out[-1][1].append(token)
    return out


@given(plan=plans, seed=st.integers(0, 2**32))
def test_any_draft_states_exactly_the_plan(plan: CaptionPlan, seed: int) -> None:
    tokens = drafted(plan, np.random.default_rng(seed), [])
    assert tokens[-2:] == [STOP, EOS]
    found = clauses_of(tokens)
    assert [slot for slot, _ in found] == [*plan.slots, None]
    (_, emotion), *measured, _ = found
    assert TABLE.emotion_in(emotion) is not None
    for slot, clause in measured:
        assert slot is not None
        compatible = TABLE.compatible(slot, clause)
        assert TABLE.is_stated(slot, plan.values[slot], compatible)
        assert set(clause) <= set(TABLE.values[slot][plan.values[slot]])


@given(plan=plans, seed=st.integers(0, 2**32), data=st.data())
def test_draft_goes_on_after_a_corrected_clause(
    plan: CaptionPlan, seed: int, data: st.DataObject
) -> None:
    """Another value than the planned one is neither refused nor followed by the planned one."""
    slot = data.draw(st.sampled_from(plan.slots))
    value = data.draw(st.sampled_from(WORDED_VALUES[slot]))
    given_tokens = [
        token
        for one in plan.slots[: plan.slots.index(slot)]
        for token in TABLE.values[one][plan.values.get(one, "sad")]
    ]
    written = list(TABLE.values[slot][value])
    tokens = drafted(plan, np.random.default_rng(seed), [*given_tokens, *written])
    assert tokens[-2:] == [STOP, EOS]
    found = dict(clauses_of(tokens))
    assert list(found) == [*plan.slots, None]
    planned = plan.values.get(slot, value)
    if not set(written) <= set(TABLE.values[slot][planned]):
        compatible = TABLE.compatible(slot, found[slot])
        assert planned not in compatible
        assert set(compatible) <= set(TABLE.compatible(slot, written))


@given(tokens=st.lists(st.integers(0, len(TABLE.slots) - 1), min_size=1, max_size=12))
def test_state_is_that_of_the_last_clause(tokens: Sequence[int]) -> None:
    state = ClauseGuide(CaptionPlan(CaptionLength.NORMAL, {}), TABLE, END).state_of(tokens)
    slot, clause = clauses_of(tokens)[-1]
    assert state.slot is slot
    assert list(state.compatible) == ([] if slot is None else TABLE.compatible(slot, clause))
    is_emotion = slot is Slot.EMOTION
    assert state.is_first == (is_emotion and clause == list(tokens))
    assert state.names_emotion == (is_emotion and bool(TABLE.emotions_in(clause)))


def test_clauses_of_two_emotions_may_end() -> None:
    """A verifier may have written them; the draft is not stuck."""
    both = [*TABLE.values[Slot.EMOTION]["sad"], *TABLE.values[Slot.EMOTION]["angry"]]
    guide = ClauseGuide(CaptionPlan(CaptionLength.NORMAL, {}), TABLE, END)
    assert guide.allowed(guide.state_of(both))[STOP]


def test_special_tokens_are_never_drafted() -> None:
    plan = CaptionPlan(CaptionLength.NORMAL, {Slot.PACE: "fast"})
    guide = ClauseGuide(plan, TABLE, END)
    fast, sad = TABLE.values[Slot.PACE]["fast"], TABLE.values[Slot.EMOTION]["sad"]
    for tokens in ([], sad, [*sad, *fast], [*sad, *fast[:1]]):
        assert not guide.allowed(guide.state_of(tokens))[[PAD, BOS, EOS]].any()
    ending = guide.allowed(guide.state_of([*sad, *fast, STOP]))
    assert np.flatnonzero(ending).tolist() == [EOS]


def test_clause_outside_the_plan_is_followed_by_the_next() -> None:
    plan = CaptionPlan(CaptionLength.NORMAL, {Slot.PITCH: "high"})
    guide = ClauseGuide(plan, TABLE, END)
    tokens = [*TABLE.values[Slot.EMOTION]["sad"], *TABLE.values[Slot.PACE]["fast"]]
    allowed = guide.allowed(guide.state_of(tokens))
    assert allowed[list(TABLE.values[Slot.PITCH]["high"])].all()
    assert not allowed[list(TABLE.values[Slot.EMOTION]["sad"])].any()


def test_emotion_is_one_that_the_clause_can_still_name() -> None:
    """A verifier may have begun a clause that the likeliest emotion cannot end."""
    values = TABLE.values[Slot.EMOTION]
    own = {name: set(tokens) for name, tokens in values.items()}
    first, second = "calm", "sad"
    guide = ClauseGuide(CaptionPlan(CaptionLength.NORMAL, {}), TABLE, END, [first, second])
    only_second = min(own[second] - own[first])
    settled = guide.choices(guide.state_of([]))
    assert settled is not None
    assert settled[list(own[first])].all()
    assert not settled[only_second]
    later = guide.choices(guide.state_of([only_second]))
    assert later is not None
    assert later[only_second]
