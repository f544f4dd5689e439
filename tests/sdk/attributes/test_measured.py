"""Measures become attributes: likely values, and the probability that they are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.attribute import SAID_ABOVE
from ugsd_sdk.attributes.measured import measured_attributes
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.errors import ModelError
from ugsd_sdk.prosody.norms import NORMS_FILE, load_norms
from ugsd_sdk.prosody.prosody import Changes, Emphasis, Pause, Prosody

NORMS = load_norms()
STEADY = Changes(effort_db=0, level_db=0, pitch_st=0, pace=0, final_pitch_st=0)
PLAIN = Prosody(
    speech_s=4, start_s=0, end_s=4, level_db=-20, effort_db=-9, pitch_st=10, variation_st=2.5,
    clarity_db=19.5, pace=4.5, pauses=(), changes=STEADY, emphasis=Emphasis(0.5, 6),
)  # fmt: skip
NOTHING = replace(
    PLAIN, effort_db=None, pitch_st=None, variation_st=None, clarity_db=None, pace=None,
    changes=None, emphasis=None,
)  # fmt: skip
numbers = st.floats(-60, 60)


def value_of(prosody: Prosody, slot: Slot, femininity: float | None = None) -> str | None:
    return measured_attributes(prosody, femininity)[slot].value


@given(
    effort=st.none() | numbers, pitch=st.none() | numbers, pace=st.none() | numbers,
    change=numbers, place=st.floats(0, 1), femininity=st.none() | st.floats(-900, 900),
    pauses=st.lists(st.floats(0.25, 3), max_size=5),
)  # fmt: skip
def test_every_attribute_has_a_value_of_its_slot(
    effort: float | None, pitch: float | None, pace: float | None, change: float, place: float,
    femininity: float | None, pauses: list[float],
) -> None:  # fmt: skip
    prosody = replace(
        PLAIN, effort_db=effort, pitch_st=pitch, pace=pace, end_s=20,
        pauses=tuple(Pause(4.0 * i, 4.0 * i + length) for i, length in enumerate(pauses)),
        changes=replace(STEADY, level_db=change), emphasis=Emphasis(place, abs(change)),
    )  # fmt: skip
    attributes = measured_attributes(prosody, femininity)
    for slot, attribute in attributes.items():
        if attribute.value is None:
            assert not attribute.distribution
            continue
        assert set(attribute.distribution) == set(SLOT_VALUES[slot])
        assert attribute.confidence == max(attribute.distribution.values())
        if slot is not Slot.CHANGE:
            assert sum(attribute.distribution.values()) == pytest.approx(1)


def test_what_was_not_measured_has_no_value() -> None:
    attributes = measured_attributes(NOTHING, None)
    assert {slot for slot, one in attributes.items() if one.value is not None} == {Slot.PAUSES}


def test_short_speech_claims_nothing_of_pauses() -> None:
    short = replace(PLAIN, start_s=0.2, end_s=1.1, pauses=())
    assert measured_attributes(short, None)[Slot.PAUSES].value is None
    longer = replace(short, end_s=1.3)
    assert measured_attributes(longer, None)[Slot.PAUSES].value == "none"


@pytest.mark.parametrize(
    ("slot", "name", "low", "high"),
    [
        (Slot.LOUDNESS, "effort_db", -40, 20),
        (Slot.PACE, "pace", 0.1, 12),
        (Slot.VARIATION, "variation_st", 0, 12),
    ],
)
def test_extremes_are_certain(slot: Slot, name: str, low: float, high: float) -> None:
    for measured, expected in ((low, SLOT_VALUES[slot][0]), (high, SLOT_VALUES[slot][2])):
        found = measured_attributes(replace(PLAIN, **{name: measured}), None)[slot]
        assert found.value == expected
        assert found.confidence is not None
        assert found.confidence >= SAID_ABOVE or slot is Slot.VARIATION
        assert found.measured == measured


def test_pitch_is_compared_with_the_own_gender() -> None:
    deep_for_women = (NORMS.pitch_st_female.low + NORMS.pitch_st_male.high) / 2 - 0.5
    prosody = replace(PLAIN, pitch_st=deep_for_women)
    assert value_of(prosody, Slot.PITCH, 6) == "low"
    assert value_of(prosody, Slot.PITCH, -6) in {"medium", "high"}
    unclear = measured_attributes(prosody, None)[Slot.PITCH]
    assert unclear.confidence is not None
    assert unclear.confidence < SAID_ABOVE


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        (replace(STEADY, level_db=9), "louder"),
        (replace(STEADY, level_db=-12), "quieter"),
        (replace(STEADY, pitch_st=30), "higher"),
        (replace(STEADY, pace=9), "faster"),
        (replace(STEADY, final_pitch_st=9), "raised_end"),
    ],
)
def test_the_most_certain_change_is_named(changes: Changes, value: str) -> None:
    assert value_of(replace(PLAIN, changes=changes), Slot.CHANGE) == value


@pytest.mark.parametrize(
    ("pauses", "value"),
    [
        ((), "none"),
        ((Pause(1, 1.45),), "brief"),
        ((Pause(1, 1.45), Pause(2, 2.45), Pause(3, 3.45)), "frequent"),
        ((Pause(0.5, 1.5), Pause(2, 2.4)), "long_early"),
        ((Pause(2, 3),), "long_middle"),
        ((Pause(1, 1.3), Pause(3, 3.9)), "long_late"),
    ],
)
def test_the_longest_pause_decides(pauses: tuple[Pause, ...], value: str) -> None:
    assert value_of(replace(PLAIN, pauses=pauses), Slot.PAUSES) == value


@pytest.mark.parametrize(("place", "value"), [(0.1, "early"), (0.5, "middle"), (1.0, "late")])
def test_emphasis_is_placed_in_a_third(place: float, value: str) -> None:
    prosody = replace(PLAIN, emphasis=Emphasis(place, 6))
    assert value_of(prosody, Slot.EMPHASIS) == value


def test_weak_emphasis_is_not_certain() -> None:
    found = measured_attributes(replace(PLAIN, emphasis=Emphasis(0.5, 0.2)), None)[Slot.EMPHASIS]
    assert found.confidence is not None
    assert found.confidence < SAID_ABOVE


def test_unclear_soft_voices_are_breathy() -> None:
    assert value_of(replace(PLAIN, clarity_db=10, effort_db=-30), Slot.QUALITY) == "breathy"
    assert value_of(replace(PLAIN, clarity_db=10, effort_db=10), Slot.QUALITY) == "rough"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"sd"', '"deviation"', 1),
        lambda text: text[:-20],
        lambda text: text.replace('"low": ', '"low": 1e9, "was": ', 1),
        lambda text: '{"format": 1, "x": [' + "0," * 300 + "0]}",
    ],
)
def test_other_norms_are_refused(change: object, tmp_path: Path) -> None:
    assert callable(change)
    path = tmp_path / "norms.json"
    path.write_text(change(NORMS_FILE.read_text("utf-8")), "utf-8")
    with pytest.raises(ModelError, match=r"norms\.json"):
        load_norms(path)


def test_missing_norms_are_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reinstall"):
        load_norms(tmp_path / "none.json")
