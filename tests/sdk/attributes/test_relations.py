"""The relation of a clip to its speaker's usual voice, and to the utterance before."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute
from ugsd_sdk.attributes.relations import (
    MAX_SECONDS_BETWEEN,
    MIN_AROUSAL_DIFFERENCE,
    MIN_USUAL_CLIPS,
    relation_to_previous,
    relation_to_profile,
)
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.profile.usual_prosody import NO_PROSODY, UsualMeasure, UsualProsody
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody

from tests.doubles.prosodies import prosody_of

PITCH_ST, PACE, EFFORT_DB = 9.0, 5.0, -12.0
OPPOSITES = {
    "higher": "lower", "faster": "slower", "louder": "quieter", "calmer": "more_agitated",
}  # fmt: skip
OPPOSITES |= {word: other for other, word in OPPOSITES.items()} | {"usual": "usual", "same": "same"}

_SHIFTS = st.tuples(st.floats(-12, 12), st.floats(-4, 4), st.floats(-20, 20))
_MEASURES = st.tuples(
    st.none() | st.floats(-40, 40), st.none() | st.floats(0, 20), st.none() | st.floats(-60, 60)
)


def usual_of(*, count: int = 20, spreads: tuple[float, ...] = (1.0, 0.5, 1.5)) -> UsualProsody:
    means = (PITCH_ST, PACE, EFFORT_DB)
    return UsualProsody(
        *(
            UsualMeasure(count, mean, spread**2 * (count - 1) / count if count else 0.0)
            for mean, spread in zip(means, spreads, strict=True)
        )
    )


def shifted(pitch_st: float = 0.0, pace: float = 0.0, effort_db: float = 0.0) -> Prosody:
    return prosody_of(PITCH_ST + pitch_st, PACE + pace, EFFORT_DB + effort_db)


def said(prosody: Prosody, *, arousal: float = 0.0, ended_s: float = 0.0) -> Utterance:
    return Utterance(prosody, arousal=arousal, ended_s=ended_s)


def opposite(value: str | None) -> str | None:
    return value and "+".join(OPPOSITES[word] for word in value.split("+"))


@pytest.mark.parametrize(
    ("shift", "value"),
    [
        ((6, 0, 0), "higher"),
        ((-6, 0, 0), "lower"),
        ((0, 3, 0), "faster"),
        ((0, -3, 0), "slower"),
        ((0, 0, 9), "louder"),
        ((0, 0, -9), "quieter"),
        ((6, 3, 0), "higher+faster"),
        ((-6, 0, 9), "lower+louder"),
        ((0, -3, -9), "slower+quieter"),
    ],
)
def test_clear_differences_from_usual_are_named(shift: tuple[float, ...], value: str) -> None:
    found = relation_to_profile(shifted(*shift), usual_of())
    assert found.value == value
    assert found.confidence is not None
    assert found.confidence >= SAID_ABOVE


def test_at_most_two_differences_are_named() -> None:
    """The most certain ones, in the order of the slot's values."""
    usual = usual_of(spreads=(1.0, 1.2, 1.5))
    assert relation_to_profile(shifted(6, 2.4, 9), usual).value == "higher+louder"
    found = relation_to_profile(shifted(3.8, 4, 0), usual)
    assert found.value == "higher+faster"
    assert found.measured == pytest.approx(4 / 1.2), "of the most certain one"


def test_doubtful_second_difference_is_left_out() -> None:
    assert relation_to_profile(shifted(6, 0, 3.5), usual_of()).value == "higher"


def test_clip_like_the_others_is_usual() -> None:
    usual = usual_of(spreads=(3.0, 1.2, 4.0))
    found = relation_to_profile(shifted(), usual)
    assert found.value == "usual"
    assert found.confidence is not None
    assert found.confidence >= SAID_ABOVE
    whisper = replace(shifted(), pitch_st=None)
    assert relation_to_profile(whisper, usual) == Attribute(), "its pitch may be unusual"


def test_lively_speaker_needs_a_larger_difference() -> None:
    assert relation_to_profile(shifted(5), usual_of()).value == "higher"
    assert relation_to_profile(shifted(5), usual_of(spreads=(6.0, 0.5, 1.5))).value != "higher"


@given(_MEASURES, st.integers(0, MIN_USUAL_CLIPS - 1))
def test_short_profiles_claim_nothing(measures: tuple[float | None, ...], count: int) -> None:
    assert relation_to_profile(prosody_of(*measures), usual_of(count=count)) == Attribute()
    assert relation_to_profile(prosody_of(*measures), NO_PROSODY) == Attribute()


@given(_SHIFTS, st.integers(MIN_USUAL_CLIPS, 100))
def test_opposite_clips_differ_oppositely(shift: tuple[float, ...], count: int) -> None:
    usual = usual_of(count=count)
    found = relation_to_profile(shifted(*shift), usual)
    mirrored = relation_to_profile(shifted(*(-part for part in shift)), usual)
    assert mirrored.value == opposite(found.value)
    assert mirrored.confidence == (found.confidence and pytest.approx(found.confidence))


@given(st.floats(2, 20), st.floats(0, 10))
def test_larger_differences_are_more_certain(shift: float, more: float) -> None:
    near, far = (relation_to_profile(shifted(pitch), usual_of()) for pitch in (shift, shift + more))
    if near.value == "higher":
        assert far.value == "higher"
        assert near.confidence is not None
        assert far.confidence is not None
        assert far.confidence >= near.confidence


@given(st.floats(3, 8))
def test_more_clips_are_more_certain(shift: float) -> None:
    few, many = (relation_to_profile(shifted(shift), usual_of(count=n)) for n in (5, 50))
    assert few.value == many.value == "higher"
    assert few.confidence is not None
    assert many.confidence is not None
    assert few.confidence <= many.confidence


@given(_MEASURES, _MEASURES, st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 100))
def test_every_value_belongs_to_its_slot(
    now: tuple[float | None, ...],
    before: tuple[float | None, ...],
    arousal: float,
    last: float,
    count: int,
) -> None:
    found = {
        Slot.PROFILE: relation_to_profile(prosody_of(*now), usual_of(count=count)),
        Slot.PREVIOUS: relation_to_previous(
            said(prosody_of(*now), arousal=arousal), said(prosody_of(*before), arousal=last)
        ),
    }
    for slot, attribute in found.items():
        assert (attribute.value is None) == (attribute.confidence is None)
        assert attribute.value is None or attribute.value in SLOT_VALUES[slot]
        assert attribute.confidence is None or attribute.confidence > 0.4


def test_infinite_or_missing_numbers_claim_nothing() -> None:
    for value in (math.nan, math.inf):
        broken = prosody_of(value, value, value)
        assert relation_to_profile(broken, usual_of()) == Attribute()
        assert relation_to_previous(said(broken), said(shifted())) == Attribute()
        calm = said(shifted(9), arousal=value)
        assert relation_to_previous(calm, said(shifted())) == Attribute()


@pytest.mark.parametrize(
    ("shift", "arousal", "value"),
    [
        ((5, 0, 0), 0.8, "more_agitated"),
        ((-5, 0, 0), -0.8, "calmer"),
        ((0, 0, 9), 0.8, "more_agitated"),
        ((0, -3, -9), -0.8, "calmer"),
        ((5, 0, 0), -0.8, "higher"),
        ((5, 0, 0), 0.0, "higher"),
        ((0, -3, 0), MIN_AROUSAL_DIFFERENCE - 0.01, "slower"),
        ((0, 0, 9), 0.0, "louder"),
        ((0, 0, 0), 0.8, None),
        ((0, 0, 0), 0.0, "same"),
    ],
)
def test_relation_to_previous_rests_on_voice_and_arousal(
    shift: tuple[float, ...], arousal: float, value: str | None
) -> None:
    found = relation_to_previous(said(shifted(*shift), arousal=arousal), said(shifted()))
    assert found.value == value


def test_agitation_is_not_claimed_against_a_measure() -> None:
    clear = relation_to_previous(said(shifted(5), arousal=1.0), said(shifted()))
    assert clear.value == "more_agitated"
    assert clear.confidence is not None
    assert clear.confidence >= SAID_ABOVE
    mixed = relation_to_previous(said(shifted(5, -2.5), arousal=1.0), said(shifted()))
    assert mixed.value == "higher"


@given(st.floats(MIN_AROUSAL_DIFFERENCE, 2), st.floats(0, 1))
def test_larger_arousal_is_more_certain(arousal: float, more: float) -> None:
    near, far = (
        relation_to_previous(said(shifted(5), arousal=value), said(shifted()))
        for value in (arousal, arousal + more)
    )
    assert near.value == far.value == "more_agitated"
    assert near.confidence is not None
    assert far.confidence is not None
    assert near.confidence <= far.confidence


@given(_SHIFTS, st.floats(-2, 2))
def test_previous_opposites_mirror(shift: tuple[float, ...], arousal: float) -> None:
    before = said(shifted())
    found = relation_to_previous(said(shifted(*shift), arousal=arousal), before)
    mirror = said(shifted(*(-part for part in shift)), arousal=-arousal)
    mirrored = relation_to_previous(mirror, before)
    assert mirrored.value == opposite(found.value)
    assert mirrored.confidence == (found.confidence and pytest.approx(found.confidence))


@pytest.mark.parametrize(
    ("seconds", "is_compared"),
    [(-1.0, False), (0.0, True), (MAX_SECONDS_BETWEEN, True), (61.0, False), (math.nan, False)],
)
def test_only_a_recent_utterance_is_compared(seconds: float, is_compared: bool) -> None:
    now, before = said(shifted(6), ended_s=100.0 + seconds), said(shifted(), ended_s=100.0)
    assert (relation_to_previous(now, before).value is not None) == is_compared
    assert relation_to_previous(now, None) == Attribute()


def test_whispers_are_compared_by_what_they_have() -> None:
    whisper = prosody_of(pace=PACE, effort_db=EFFORT_DB)
    assert relation_to_previous(said(whisper), said(shifted(6))).value is None
    loud = prosody_of(effort_db=EFFORT_DB + 9)
    assert relation_to_previous(said(loud), said(shifted())).value == "louder"
