"""``slots.json``: what a valid one states, and damaged ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.plan import WORDED_VALUES
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter.slot_table import SlotTable, parse_slots


def some_slots() -> dict[str, Any]:
    """Return a table with a token that all values of a slot share, and one for each value; those of
    a pair such as "higher+faster" are those of both."""
    slots: list[str | None] = [None] * 4
    values: dict[str, dict[str, list[int]]] = {}
    for slot, names in WORDED_VALUES.items():
        shared = len(slots)
        singles = [name for name in names if "+" not in name]
        of = {name: shared + 1 + place for place, name in enumerate(singles)}
        slots += [slot.value] * (1 + len(singles))
        values[slot.value] = {
            name: [shared, *(of[part] for part in name.split("+"))] for name in names
        }
    return {"format": 1, "slots": slots, "values": values}


def parsed(fields: dict[str, Any]) -> SlotTable:
    return parse_slots(json.dumps(fields).encode(), num_tokens=len(fields["slots"]))


def test_emotion_is_read_from_its_tokens() -> None:
    table = parsed(some_slots())
    by_value = table.values[Slot.EMOTION]
    for emotion in EMOTIONS:
        assert table.emotion_in(by_value[emotion]) == emotion
    assert table.emotion_in([by_value["sad"][0]]) is None
    assert table.emotion_in([*by_value["sad"], *by_value["angry"]]) is None
    assert table.emotions_in([*by_value["sad"], *by_value["angry"]]) == {"sad", "angry"}


def test_pair_of_differences_needs_both_words() -> None:
    table = parsed(some_slots())
    both = table.values[Slot.PROFILE]["higher+faster"]
    higher = table.compatible(Slot.PROFILE, both[:2])
    assert {"higher", "higher+faster", "higher+louder"} <= set(higher)
    assert table.is_stated(Slot.PROFILE, "higher", higher)
    assert not table.is_stated(Slot.PROFILE, "higher+faster", higher)
    compatible = table.compatible(Slot.PROFILE, both)
    assert compatible == ["higher+faster"]
    assert table.is_stated(Slot.PROFILE, "higher+faster", compatible)


def _without_slot(fields: dict[str, Any]) -> None:
    del fields["values"]["pace"]


def _with_unknown_value(fields: dict[str, Any]) -> None:
    fields["values"]["pace"]["breakneck"] = fields["values"]["pace"]["fast"]


def _in_another_order(fields: dict[str, Any]) -> None:
    fields["values"]["pace"] = dict(reversed(fields["values"]["pace"].items()))


def _with_token_beyond_the_vocabulary(fields: dict[str, Any]) -> None:
    fields["values"]["pace"]["fast"] = [len(fields["slots"])]


def _with_token_of_another_slot(fields: dict[str, Any]) -> None:
    fields["values"]["pace"]["fast"] = fields["values"]["pitch"]["high"]


def _with_value_without_tokens(fields: dict[str, Any]) -> None:
    fields["values"]["pace"]["fast"] = []


def _with_negative_token(fields: dict[str, Any]) -> None:
    fields["values"]["pace"]["fast"] = [-1]


def _with_unknown_slot(fields: dict[str, Any]) -> None:
    fields["slots"][5] = "gender"


def _of_another_format(fields: dict[str, Any]) -> None:
    fields["format"] = 2


def _with_surprise(fields: dict[str, Any]) -> None:
    fields["surprise"] = 1


@pytest.mark.parametrize(
    "damage",
    [
        _without_slot, _with_unknown_value, _in_another_order, _with_token_beyond_the_vocabulary,
        _with_token_of_another_slot, _with_value_without_tokens, _with_negative_token,
        _with_unknown_slot, _of_another_format, _with_surprise,
    ],
)  # fmt: skip
def test_damaged_slots_are_refused(damage: Callable[[dict[str, Any]], None]) -> None:
    fields = copy.deepcopy(some_slots())
    damage(fields)
    with pytest.raises(ValueError, match=r"\S"):
        parsed(fields)


def test_slots_of_another_vocabulary_are_refused() -> None:
    fields = some_slots()
    with pytest.raises(ValueError, match="another vocabulary"):
        parse_slots(json.dumps(fields).encode(), num_tokens=len(fields["slots"]) + 1)


@given(data=st.binary(max_size=40), cut=st.integers(0, 2000))
def test_damaged_bytes_are_value_errors(data: bytes, cut: int) -> None:
    whole = json.dumps(some_slots()).encode()
    for damaged in (data, whole[:cut], whole[:cut] + data, data + whole[: cut + 1]):
        with pytest.raises(ValueError, match=r"\S"):
            parse_slots(damaged, num_tokens=60)
