"""Claims are read from a caption's clauses, and contours from its recording."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.reports.claim_marks import PLACES
from ugsd_sdk.reports.claims import RULES, Claim, claims_of, clauses_of, percent
from ugsd_sdk.reports.clip_contours import contours_of

from tests.doubles.claimed_captions import ScriptedCaption, scripted_caption

Slots = st.lists(st.sampled_from(Slot), unique=True)


class _Retold(ScriptedCaption):
    """A caption whose text is not that of its tokens."""

    @property
    def text(self) -> str:
        return "No speech."


def claim(slot: Slot, value: str, measured: float) -> Claim:
    return Claim(slot, "", Attribute(value=value, confidence=1, measured=measured), RULES[slot])


@given(slots=Slots)
def test_clauses_joined_are_the_text(slots: list[Slot]) -> None:
    caption = scripted_caption(slots)
    clauses = clauses_of(caption)
    assert "".join(clause.text for clause in clauses) == caption.text
    assert [clause.slot for clause in clauses if clause.slot is not None] == slots


@given(slots=Slots)
def test_only_stated_slots_have_words(slots: list[Slot]) -> None:
    claims = claims_of(scripted_caption(slots))
    assert [claim.slot for claim in claims] == list(Slot)
    assert {claim.slot for claim in claims if claim.words} == set(slots)
    assert all(claim.words == claim.words.strip(" ,.;") for claim in claims)


def test_text_of_other_tokens_is_one_clause() -> None:
    caption = scripted_caption()
    assert clauses_of(_Retold(caption.tokens, caption.attributes)) == ((None, "No speech."),)


def test_every_slot_has_rule_and_place() -> None:
    assert set(RULES) == set(PLACES) == set(Slot)
    assert all(len(rule) <= 80 for rule in RULES.values())


@pytest.mark.parametrize("value", SLOT_VALUES[Slot.CHANGE])
def test_differences_have_sign_and_unit(value: str) -> None:
    units = {"steady": "", "faster": " syllables/s", "slower": " syllables/s"}
    unit = units.get(value, " dB" if value in {"louder", "quieter"} else " semitones")
    assert claim(Slot.CHANGE, value, 2.0).number == f"+2.0{unit}"


def test_pitch_is_shown_in_hertz() -> None:
    assert claim(Slot.PITCH, "high", 12.0).number == "200 Hz"


@given(st.floats(0, 1))
def test_only_certainty_is_hundred_percent(probability: float) -> None:
    assert (percent(probability) == "100 %") == (probability == 1)
    assert (percent(probability) == "0 %") == (probability == 0)


@given(cut=st.integers(1, 9), gain=st.floats(1e-3, 1))
def test_pieces_give_the_contours_of_the_whole(cut: int, gain: float) -> None:
    rng = np.random.default_rng(cut)
    recording = (gain * rng.uniform(-1, 1, 16_000)).astype(np.float32)
    at = cut * 1600
    whole = contours_of([recording], ((0.2, 0.9),))
    parts = contours_of([recording[:at], recording[at:]], ((0.2, 0.9),))
    assert parts.duration_s == whole.duration_s == 1.0
    for name in ("times_s", "envelope", "level_db"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))


@given(gaps=st.lists(st.floats(0.01, 3), min_size=2, max_size=20))
def test_thirds_hold_a_third_of_the_speech(gaps: list[float]) -> None:
    edges = np.cumsum(gaps)
    spans = tuple((float(a), float(b)) for a, b in zip(edges[::2], edges[1::2], strict=False))
    thirds = contours_of([], spans).thirds()
    assert thirds is not None
    total = sum(end - start for start, end in spans)
    for begin, finish in thirds:
        spoken = sum(max(0.0, min(end, finish) - max(start, begin)) for start, end in spans)
        assert spoken == pytest.approx(total / 3)


def test_clip_without_speech_has_no_thirds() -> None:
    assert contours_of([np.zeros(800, np.float32)], ()).thirds() is None


@pytest.mark.parametrize("is_said", [True, False])
def test_stated_intensity_belongs_to_the_emotion(is_said: bool) -> None:
    strong = Attribute(value="strong", confidence=0.95, is_said=is_said)
    emotion, *others = claims_of(scripted_caption(intensity=strong))
    assert emotion.value == ("sad, strong" if is_said else "sad")
    assert all(other.intensity is None for other in others)
