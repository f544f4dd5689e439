"""Attributes hold only the values of their slots, rounded once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, UNITS, Attributes, unit_of
from ugsd_sdk.attributes.labels import attribute_label
from ugsd_sdk.attributes.slots import Slot

from tests.doubles.captions import attributes, sample_attributes


def test_each_slot_is_a_field() -> None:
    assert set(ATTRIBUTE_VALUES) == {*Slot, "intensity"}
    assert set(UNITS) < set(ATTRIBUTE_VALUES)
    fields = list(Attributes.model_fields)
    assert fields == [*ATTRIBUTE_VALUES, "valence", "arousal", "pause_spans"]


@pytest.mark.parametrize("name", ATTRIBUTE_VALUES)
def test_value_of_another_slot_is_refused(name: str) -> None:
    for value in ATTRIBUTE_VALUES[name]:
        assert getattr(Attributes(**{name: Attribute(value=value)}), name).value == value
        assert attribute_label(name, value)
    for wrong in ({"value": "purple"}, {"distribution": {"purple": 0.5}}, {"is_said": True}):
        with pytest.raises(ValidationError):
            Attributes(**{name: Attribute(**wrong)})


@pytest.mark.parametrize(
    "wrong",
    [
        {"valence": 1.5},
        {"arousal": float("nan")},
        {"pause_spans": ((2.0, 1.0),)},
        {"pause_spans": ((1.0, 2.0), (1.5, 3.0))},
        {"pause_spans": ((1.0, float("inf")),)},
        {"mood": Attribute()},
    ],
)
def test_impossible_attributes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Attributes(**wrong)


def test_measured_number_must_be_finite() -> None:
    with pytest.raises(ValidationError):
        Attribute(measured=float("nan"))


@given(attributes())
def test_rounding_twice_changes_nothing(known: Attributes) -> None:
    assert Attributes.model_validate(known.model_dump()) == known
    assert Attributes(**dict(known)) == known


def test_small_probabilities_are_left_out() -> None:
    emotion = sample_attributes().emotion
    assert emotion.distribution == {"happy": 0.083, "angry": 0.821, "fearful": 0.091}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=len(ATTRIBUTE_VALUES)), st.data())
def test_confidence_is_the_product_of_claims(shares: list[float], data: st.DataObject) -> None:
    said = {
        name: Attribute(value=ATTRIBUTE_VALUES[name][0], confidence=share, is_said=True)
        for name, share in zip(ATTRIBUTE_VALUES, shares, strict=False)
    }
    joint = Attributes(**said).joint_confidence()
    assert joint is not None
    assert joint <= round(min(shares), 3)
    verified = data.draw(st.sampled_from(sorted(said)))
    said[verified] = said[verified].model_copy(update={"decided_by": DecidedBy.VERIFIER})
    assert Attributes(**said).joint_confidence() is None


def test_what_is_not_said_adds_no_doubt() -> None:
    unsaid = Attribute(value="loud", confidence=0.1)
    emotion = Attribute(value="sad", confidence=0.8, is_said=True)
    assert Attributes(emotion=emotion, loudness=unsaid).joint_confidence() == 0.8
    assert Attributes(loudness=unsaid).joint_confidence() is None


def test_unit_of_a_change_depends_on_it() -> None:
    units = [unit_of("change", value) for value in ("louder", "faster", "lower", "steady", None)]
    assert units == ["dB", "syllables/s", "semitones", None, None]
    assert unit_of("pace", "fast") == "syllables/s"
    assert unit_of("emotion", "sad") is None


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("pitch", "high", "high pitch"),
        ("profile", "higher+faster", "higher and faster than usual"),
        ("previous", "more_agitated", "more agitated than before"),
        ("change", "louder", "louder towards the end"),
    ],
)
def test_label_stands_by_itself(name: str, value: str, label: str) -> None:
    assert attribute_label(name, value) == label


def test_units_of_relations_are_those_of_their_numbers() -> None:
    assert unit_of("profile", "higher+faster") == "standard deviations of the speaker"
    assert unit_of("previous", "higher") == "semitones"
    assert unit_of("previous", "calmer") is None
