"""``proposals.json``: what a table proposes, and damaged ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter.proposals import (
    CaptionProposer,
    ClauseFeature,
    ProposalTable,
    clause_features,
    parse_proposals,
)

from tests.sdk.drafter.test_clause_guide import EOS, STOP, TABLE, plans

SIZE = len(TABLE.slots)
OPENING = TABLE.values[Slot.EMOTION]["sad"][0]
"""The token that clauses of all emotions share."""
SAD, ANGRY = (TABLE.values[Slot.EMOTION][emotion][1] for emotion in ("sad", "angry"))
FAST, SLOW = (list(TABLE.values[Slot.PACE][value]) for value in ("fast", "slow"))
PLAN = CaptionPlan(CaptionLength.NORMAL, {Slot.PACE: "fast"})


def some_proposals() -> dict[str, Any]:
    """Return a table with the clauses of two emotions and of two paces."""
    return {
        "format": 1,
        "clauses": [[OPENING, SAD], [OPENING, ANGRY], FAST, SLOW],
        "nodes": [
            ["value", {"sad": 0, "angry": 1}],
            ["value", {"fast": 2, "slow": 3}],
            ["previous", {"emotion": 5}],
        ],
        "roots": {"emotion": 4, "pace": 6},
    }


def parsed(fields: dict[str, Any]) -> ProposalTable:
    return parse_proposals(json.dumps(fields).encode(), num_tokens=SIZE)


def proposer(emotion: str = "sad", plan: CaptionPlan = PLAN) -> CaptionProposer:
    table = parsed(some_proposals())
    return CaptionProposer(table, plan, emotion=emotion, slots=TABLE.slots, stop=[STOP])


def test_caption_is_proposed_from_its_plan() -> None:
    whole = [OPENING, SAD, *FAST, STOP]
    for begun in range(len(whole) + 1):
        assert list(proposer()(whole[:begun])) == whole[begun:]


def test_other_emotion_and_value_go_on_in_their_words() -> None:
    assert list(proposer()([OPENING, ANGRY])) == [*FAST, STOP]
    assert list(proposer()([OPENING, SAD, *SLOW[:1]])) == [*FAST[1:], STOP]
    assert list(proposer()([OPENING, SAD, *SLOW])) == [STOP]


def test_unknown_wording_proposes_nothing() -> None:
    assert not proposer()([ANGRY, OPENING])
    assert not proposer()([OPENING, SAD, STOP, EOS])
    assert not proposer()([*TABLE.values[Slot.PITCH]["high"]])
    assert list(proposer()([ANGRY, OPENING, FAST[0]])) == [*FAST[1:], STOP]


def test_clause_that_the_table_lacks_is_left_out() -> None:
    plan = CaptionPlan(CaptionLength.NORMAL, {Slot.PITCH: "low"})
    assert list(proposer(plan=plan)([])) == [OPENING, SAD, STOP]


@given(
    plan=plans,
    emotion=st.sampled_from(EMOTIONS),
    tokens=st.lists(st.integers(0, SIZE - 1), max_size=20),
)
def test_any_draft_gets_tokens_of_the_vocabulary(
    plan: CaptionPlan, emotion: str, tokens: Sequence[int]
) -> None:
    assert all(0 <= token < SIZE for token in proposer(emotion, plan)(tokens))


def test_features_say_what_surrounds_a_clause() -> None:
    plan = CaptionPlan(
        CaptionLength.RICH, {Slot.LOUDNESS: "loud", Slot.PACE: "fast"}, is_doubtful=True, opening=7
    )
    features = clause_features(plan, "happy", Slot.LOUDNESS)
    assert features == {
        ClauseFeature.PREVIOUS: "emotion",
        ClauseFeature.NEXT: "pace",
        ClauseFeature.LENGTH: "rich",
        ClauseFeature.OPENING: "7",
        ClauseFeature.STRENGTH: "doubtful",
        ClauseFeature.PREVIOUS_VALUE: "happy",
        ClauseFeature.VALUE: "loud",
        ClauseFeature.VARIANT: "0",
    }
    first = clause_features(plan, "happy", Slot.EMOTION)
    assert first[ClauseFeature.PREVIOUS] == first[ClauseFeature.PREVIOUS_VALUE] == ""
    assert clause_features(plan, "happy", Slot.PACE)[ClauseFeature.NEXT] == ""


def _circle(fields: dict[str, Any]) -> None:
    fields["nodes"][0][1]["sad"] = 4


def _node_after(fields: dict[str, Any]) -> None:
    fields["nodes"][0][1]["sad"] = 6


def _no_node(fields: dict[str, Any]) -> None:
    fields["roots"]["pace"] = 7


def _negative(fields: dict[str, Any]) -> None:
    fields["roots"]["pace"] = -1


def _unknown_token(fields: dict[str, Any]) -> None:
    fields["clauses"][0][0] = SIZE


def _empty_clause(fields: dict[str, Any]) -> None:
    fields["clauses"][0] = []


def _unknown_feature(fields: dict[str, Any]) -> None:
    fields["nodes"][0][0] = "gender"


def _unknown_slot(fields: dict[str, Any]) -> None:
    fields["roots"]["gender"] = 0


def _format(fields: dict[str, Any]) -> None:
    fields["format"] = 2


@pytest.mark.parametrize(
    "damage",
    [
        _circle, _node_after, _no_node, _negative, _unknown_token, _empty_clause,
        _unknown_feature, _unknown_slot, _format,
    ],
)  # fmt: skip
def test_damaged_table_is_refused(damage: Callable[[dict[str, Any]], None]) -> None:
    fields = copy.deepcopy(some_proposals())
    parsed(fields)
    damage(fields)
    with pytest.raises(ValueError, match=r"."):
        parsed(fields)
