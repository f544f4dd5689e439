"""What a caption may claim of a recording and of its relation to earlier ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.evaluation.claim_truth import (
    NOTHING,
    LevelBorders,
    SlotTruth,
    label_truth,
    recording_truth,
)
from ugsd_lab.evaluation.relation_truth import previous_truth, profile_truth
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.prosody.norms import load_norms
from ugsd_sdk.prosody.prosody import Emphasis, Pause, Prosody

from tests.lab.evaluation.spoken_claims import BORDERS, CLIP, PLAIN, STEADY

numbers = st.none() | st.floats(-30, 30)
prosodies = st.builds(
    replace,
    st.just(PLAIN),
    pitch_st=numbers,
    effort_db=numbers,
    variation_st=numbers,
    clarity_db=numbers,
    pace=st.none() | st.floats(0.5, 12),
    pauses=st.lists(
        st.builds(lambda at, long: Pause(at, at + long), st.floats(0.5, 3), st.floats(0.25, 2))
    ).map(tuple),
    changes=st.none()
    | st.builds(
        replace, st.just(STEADY), level_db=st.floats(-20, 20), pitch_st=numbers, pace=numbers,
        final_pitch_st=numbers,
    ),
    emphasis=st.none() | st.builds(Emphasis, st.floats(0, 1), st.floats(-9, 9)),
)  # fmt: skip


def truth_of(slot: Slot, prosody: Prosody | None, gender: str | None = "female") -> SlotTruth:
    return recording_truth(prosody, BORDERS, gender)[slot]


@given(prosodies, st.lists(prosodies, max_size=8), st.sampled_from(["female", "male", None]))
def test_truth_has_only_values_of_the_slot(
    prosody: Prosody, earlier: list[Prosody], gender: str | None
) -> None:
    truth: dict[Slot, SlotTruth] = {
        Slot(name): facts for name, facts in recording_truth(prosody, BORDERS, gender).items()
    }
    truth[Slot.PROFILE] = profile_truth(prosody, earlier)
    truth[Slot.PREVIOUS] = previous_truth(
        prosody, "sad", (earlier[0], "happy") if earlier else None
    )
    for slot, facts in truth.items():
        assert facts.salient <= facts.right <= set(SLOT_VALUES[slot])


@given(prosodies)
def test_opposite_changes_are_never_both_right(prosody: Prosody) -> None:
    truths = [truth_of(Slot.CHANGE, prosody), profile_truth(prosody, [PLAIN])]
    for facts in truths:
        for pair in ({"louder", "quieter"}, {"higher", "lower"}, {"faster", "slower"}):
            assert len(facts.right & pair) < 2


@pytest.mark.parametrize(
    ("pitch_st", "right", "salient"),
    [(9.5, "low", set()), (8.9, "low", {"low"}), (12, "medium", set()), (14.5, "high", set()),
     (15.1, "high", {"high"})],
)  # fmt: skip
def test_borderline_levels_are_right_but_not_salient(
    pitch_st: float, right: str, salient: set[str]
) -> None:
    facts = truth_of(Slot.PITCH, replace(PLAIN, pitch_st=pitch_st))
    assert facts == SlotTruth.of({right}, salient)


def test_pitch_is_compared_within_the_gender() -> None:
    deep = replace(PLAIN, pitch_st=6.0)
    values = {g: set(truth_of(Slot.PITCH, deep, g).right) for g in ("female", "male", None)}
    assert values == {"female": {"low"}, "male": {"high"}, None: {"medium"}}


def test_whisper_may_claim_no_pitch() -> None:
    whisper = replace(PLAIN, pitch_st=None, variation_st=None)
    assert truth_of(Slot.PITCH, whisper) == truth_of(Slot.VARIATION, whisper) == NOTHING


def test_unknown_pace_is_not_judged() -> None:
    assert Slot.PACE not in recording_truth(replace(PLAIN, pace=None), BORDERS, None)
    assert truth_of(Slot.PACE, PLAIN).right == {"moderate"}


def test_silent_recording_may_claim_nothing() -> None:
    assert set(recording_truth(None, BORDERS, None).values()) == {NOTHING}


@pytest.mark.parametrize(
    ("pauses", "right", "salient"),
    [
        ([], {"none"}, set()),
        ([(1.0, 1.3)], {"brief"}, set()),
        ([(1.0, 1.3), (2.0, 2.3), (3.0, 3.3)], {"brief", "frequent"}, set()),
        ([(0.9, 1.2), (1.4, 1.7), (2, 2.3), (3, 3.3)], {"brief", "frequent"}, {"frequent"}),
        ([(1.0, 1.75)], {"long_early"}, set()),
        ([(1.0, 1.3), (1.6, 2.5)], {"long_middle"}, {"long_middle"}),
        ([(2.6, 3.5)], {"long_late"}, {"long_late"}),
    ],
)
def test_pauses_are_judged_by_length_and_place(
    pauses: list[tuple[float, float]], right: set[str], salient: set[str]
) -> None:
    facts = truth_of(Slot.PAUSES, replace(PLAIN, pauses=tuple(Pause(*ends) for ends in pauses)))
    assert facts == SlotTruth.of(right, salient)


def test_change_is_right_by_its_sign() -> None:
    rising = replace(STEADY, level_db=2.0, pitch_st=3.0, pace=-0.1, final_pitch_st=1.0)
    facts = truth_of(Slot.CHANGE, replace(PLAIN, changes=rising))
    assert facts == SlotTruth.of({"louder", "higher", "slower", "raised_end"}, {"higher"})
    falling = replace(STEADY, level_db=-7.0, pitch_st=-5.0)
    facts = truth_of(Slot.CHANGE, replace(PLAIN, changes=falling))
    assert facts == SlotTruth.of({"quieter", "lower"}, {"lower"})
    assert truth_of(Slot.CHANGE, PLAIN).right == {"steady"}
    assert truth_of(Slot.CHANGE, replace(PLAIN, changes=None)) == NOTHING


def test_neighbouring_third_is_a_wrong_emphasis() -> None:
    facts = truth_of(Slot.EMPHASIS, replace(PLAIN, emphasis=Emphasis(0.34, 4.0)))
    assert facts == SlotTruth.of({"middle"}, {"middle"})


def test_quality_combines_clarity_and_effort() -> None:
    breathy = replace(PLAIN, clarity_db=16.0, effort_db=-18.0)
    assert truth_of(Slot.QUALITY, breathy) == SlotTruth.of({"breathy"}, {"breathy"})
    near = replace(breathy, clarity_db=17.9)
    assert truth_of(Slot.QUALITY, near) == SlotTruth.of({"breathy"})
    assert truth_of(Slot.QUALITY, PLAIN) == SlotTruth.of({"modal"})


def test_labels_give_emotion_and_intensity() -> None:
    assert label_truth(CLIP) == {"emotion": SlotTruth.of({"angry"}, {"angry"})}
    mild = label_truth(replace(CLIP, emotion=None, intensity="normal"))
    assert mild == {"intensity": SlotTruth.of({"mild"})}


EARLIER = [replace(PLAIN, pitch_st=12 + step, pace=5 + step / 5) for step in (-1, -0.5, 0, 0.5, 1)]


def test_profile_pair_needs_both_halves() -> None:
    now = replace(PLAIN, pitch_st=16.0, pace=4.0)
    facts = profile_truth(now, EARLIER)
    assert facts.right == {"higher", "slower", "higher+slower"}
    assert facts.salient == {"higher", "slower", "higher+slower"}


def test_first_clip_may_claim_no_relation() -> None:
    assert profile_truth(PLAIN, []) == NOTHING
    assert previous_truth(PLAIN, "sad", None) == NOTHING


def test_few_earlier_clips_make_nothing_salient() -> None:
    facts = profile_truth(replace(PLAIN, pitch_st=20.0), EARLIER[:4])
    assert "higher" in facts.right
    assert not facts.salient


def test_usual_delivery_is_within_the_spread() -> None:
    assert profile_truth(PLAIN, EARLIER).right == {"usual"}
    assert "usual" not in profile_truth(replace(PLAIN, pitch_st=16.0), EARLIER).right


def test_calmer_follows_the_labels_then_the_voice() -> None:
    agitated = replace(PLAIN, pitch_st=15.0, effort_db=-5.0)
    assert "calmer" in previous_truth(PLAIN, "sad", (PLAIN, "angry")).salient
    facts = previous_truth(PLAIN, "neutral", (agitated, "neutral"))
    assert {"calmer", "lower", "quieter"} <= facts.right
    assert "more_agitated" not in facts.right
    assert previous_truth(PLAIN, None, (PLAIN, None)).right == {"same"}


def test_borders_come_from_the_device() -> None:
    norms = load_norms()
    borders = LevelBorders.of(norms)
    assert borders.effort_db == (norms.effort_db.low, norms.effort_db.high)
    assert borders.pitch_of("female")[0] > borders.pitch_of("male")[0]
    assert borders.pitch_of("other") == borders.pitch_of(None)
