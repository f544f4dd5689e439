"""What a caption words of a voice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import PLAN_DIM, WORDED_VALUES, CaptionPlan, caption_plan
from ugsd_sdk.attributes.slots import INTENSITIES, SLOT_VALUES, Slot

ORDINARY = {
    Slot.LOUDNESS: "moderate", Slot.PACE: "moderate", Slot.PITCH: "medium",
    Slot.VARIATION: "moderate", Slot.PAUSES: "none", Slot.CHANGE: "steady", Slot.PROFILE: "usual",
}  # fmt: skip
shares = st.floats(0, 1)
seeds = st.integers(0, 2**32).map(str)
lengths = st.sampled_from(CaptionLength)


def attribute(values: tuple[str, ...]) -> st.SearchStrategy[Attribute]:
    known = st.builds(Attribute, value=st.sampled_from(values), confidence=st.none() | shares)
    return st.just(Attribute()) | known


voices = st.fixed_dictionaries({slot: attribute(values) for slot, values in SLOT_VALUES.items()})
strengths = attribute(INTENSITIES)


def certain(**values: str) -> dict[Slot, Attribute]:
    """Return a voice of which exactly these values are certain, besides the emotion."""
    unknown = {slot: Attribute() for slot in Slot}
    known = {Slot(slot): Attribute(value=value, confidence=0.95) for slot, value in values.items()}
    return unknown | {Slot.EMOTION: Attribute(value="sad", confidence=0.9)} | known


@given(voices, strengths, lengths, seeds)
def test_uncertain_attribute_is_never_worded(
    voice: dict[Slot, Attribute], strength: Attribute, length: CaptionLength, seed: str
) -> None:
    plan = caption_plan(voice, strength, length, seed)
    assert plan.length is length
    assert list(plan.slots) == [slot for slot in Slot if slot in plan.slots]
    for slot, value in plan.values.items():
        assert slot is not Slot.EMOTION
        assert value == voice[slot].value
        assert value in WORDED_VALUES[slot]
        assert (voice[slot].confidence or 0) >= SAID_ABOVE


@given(voices, strengths, seeds)
def test_lengths_bound_the_number_of_clauses(
    voice: dict[Slot, Attribute], strength: Attribute, seed: str
) -> None:
    short, normal, rich = (
        caption_plan(voice, strength, length, seed).values for length in CaptionLength
    )
    assert len(short) <= 2
    assert set(short) <= {Slot.LOUDNESS, Slot.PITCH}
    assert len(normal) <= 4
    assert normal.items() <= rich.items()
    assert short.items() <= rich.items()


@given(voices, strengths, lengths, seeds)
def test_same_voice_and_seed_give_the_same_plan(
    voice: dict[Slot, Attribute], strength: Attribute, length: CaptionLength, seed: str
) -> None:
    plan = caption_plan(voice, strength, length, seed)
    assert plan == caption_plan(dict(reversed(voice.items())), strength, length, seed)


def test_other_seeds_give_other_wordings() -> None:
    voice = certain(loudness="loud", pitch="high")
    wordings = [
        (plan.opening, plan.variant)
        for plan in (
            caption_plan(voice, Attribute(), CaptionLength.NORMAL, str(seed)) for seed in range(300)
        )
    ]
    same = sum(first == second for first, second in itertools.pairwise(wordings))
    assert same < 30
    assert len(set(wordings)) > 50


@given(voices, voices, strengths, lengths, seeds)
def test_first_clause_does_not_depend_on_measures(
    voice: dict[Slot, Attribute],
    other: dict[Slot, Attribute],
    strength: Attribute,
    length: CaptionLength,
    seed: str,
) -> None:
    alike = other | {Slot.EMOTION: voice[Slot.EMOTION]}
    one, two = (caption_plan(some, strength, length, seed) for some in (voice, alike))
    assert (one.opening, one.variant) == (two.opening, two.variant)
    assert (one.is_strong, one.is_doubtful) == (two.is_strong, two.is_doubtful)


@given(voices, strengths, lengths, seeds)
def test_doubtful_emotion_is_never_strong(
    voice: dict[Slot, Attribute], strength: Attribute, length: CaptionLength, seed: str
) -> None:
    plan = caption_plan(voice, strength, length, seed)
    assert not (plan.is_doubtful and plan.is_strong)
    if plan.is_strong:
        assert strength.value == "strong"
    if (voice[Slot.EMOTION].confidence or 0) < 0.4:
        assert plan.is_doubtful


@given(voices, strengths, seeds)
def test_ordinary_values_are_worded_for_want_of_others(
    voice: dict[Slot, Attribute], strength: Attribute, seed: str
) -> None:
    short = caption_plan(voice, strength, CaptionLength.SHORT, seed).values
    assert not any(ORDINARY.get(slot) == value for slot, value in short.items())
    normal = caption_plan(voice, strength, CaptionLength.NORMAL, seed).values
    ordinary = [slot for slot, value in normal.items() if ORDINARY.get(slot) == value]
    assert not ordinary or len(normal) <= 2


def test_ordinary_voice_still_gets_two_clauses() -> None:
    voice = certain(loudness="moderate", pauses="none", pitch="medium", change="steady")
    assert len(caption_plan(voice, Attribute(), CaptionLength.NORMAL, "").values) == 2
    assert len(caption_plan(voice, Attribute(), CaptionLength.RICH, "").values) == 4
    assert not caption_plan(voice, Attribute(), CaptionLength.SHORT, "").values


def test_slots_without_proof_are_not_worded() -> None:
    voice = certain(pace="fast", variation="lively", pitch="high")
    for length in CaptionLength:
        assert set(caption_plan(voice, Attribute(), length, "").values) == {Slot.PITCH}


@given(voices, strengths, lengths, seeds)
def test_features_tell_all_plans_apart(
    voice: dict[Slot, Attribute], strength: Attribute, length: CaptionLength, seed: str
) -> None:
    plan = caption_plan(voice, strength, length, seed)
    features = plan.features
    assert features.shape == (PLAN_DIM,)
    assert set(features.tolist()) <= {0.0, 1.0}
    expected = len(plan.values) + plan.is_strong + plan.is_doubtful + 3
    assert features.sum() == expected
    bare = CaptionPlan(length, {}, opening=plan.opening, variant=plan.variant)
    assert (features.tolist() == bare.features.tolist()) is (plan == bare)
