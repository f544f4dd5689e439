"""Captions of random and of realistic plans."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.grammar import caption_text, clauses, emotion_clause
from ugsd_lab.data.lexicon import LEXICON
from ugsd_lab.data.random_plans import random_plan
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import (
    NUM_OPENINGS,
    NUM_VARIANTS,
    UNGRADED,
    WORDED_VALUES,
    CaptionPlan,
    caption_plan,
)
from ugsd_sdk.attributes.slots import EMOTIONS, SLOT_VALUES, Slot

emotions = st.sampled_from(EMOTIONS)
seeds = st.integers(0, 2**32)
_MOST_WORDS = {CaptionLength.SHORT: 12, CaptionLength.NORMAL: 40, CaptionLength.RICH: 80}


def attributes(rng: random.Random) -> dict[Slot, Attribute]:
    """Return attributes of which about two thirds are certain."""
    return {
        slot: Attribute(value=rng.choice(values), confidence=rng.choice((0.3, 0.92, 0.98)))
        for slot, values in SLOT_VALUES.items()
    }


def strength(rng: random.Random) -> Attribute:
    return Attribute(value=rng.choice(("moderate", "strong")), confidence=rng.random())


def captions(count: int) -> list[str]:
    """Return captions of normal length of different voices."""
    rng = random.Random(0)
    return [
        caption_text(
            rng.choice(EMOTIONS),
            caption_plan(attributes(rng), strength(rng), CaptionLength.NORMAL, str(number)),
        )
        for number in range(count)
    ]


@given(emotion=emotions, seed=seeds)
def test_clauses_follow_the_plan(emotion: str, seed: int) -> None:
    plan = random_plan(random.Random(seed))
    found = clauses(emotion, plan)
    assert [clause.slot for clause in found] == [*plan.slots, None]
    assert found == clauses(emotion, plan)


@given(emotion=emotions, is_strong=st.booleans(), seed=seeds)
def test_caption_is_punctuated_and_neutral(emotion: str, is_strong: bool, seed: int) -> None:
    text = caption_text(emotion, random_plan(random.Random(seed), is_strong=is_strong))
    sentence = r"[A-Z][a-z'-]*(?:[,;]? [a-z'-]+)*\."
    assert re.fullmatch(rf"{sentence}(?: {sentence})*", text)
    assert not re.search(r"\b(?:a(?= [aeiou])|an(?= [^aeiou]))\b", text, re.IGNORECASE)
    assert not re.search(r"\b(?:fe)?male|\b(?:wo)?m[ae]n\b|\b(?:s?he|his|hers?|him)\b", text)


@pytest.mark.parametrize("length", CaptionLength)
@given(emotion=emotions, seed=seeds)
def test_lengths_have_their_limits(length: CaptionLength, emotion: str, seed: int) -> None:
    rng = random.Random(seed)
    text = caption_text(emotion, caption_plan(attributes(rng), strength(rng), length, str(seed)))
    assert 3 <= len(text.split()) <= _MOST_WORDS[length], text
    assert text.count(".") <= (3 if length is CaptionLength.RICH else 1)


def test_no_short_caption_exceeds_twelve_words() -> None:
    """Every wording of every plan, as far as it decides the number of words."""
    values = [("quiet", "loud"), ("slow", "fast"), ("low", "high")]
    openings = {
        (strong, doubtful): {
            caption_plan(
                {Slot.EMOTION: Attribute(value="sad", confidence=0.3 if doubtful else 0.9)},
                Attribute(value="strong", confidence=0.9) if strong else Attribute(),
                CaptionLength.SHORT,
                str(seed),
            ).opening
            for seed in range(400)
        }
        for strong, doubtful in ((False, False), (True, False), (False, True))
    }
    assert openings[False, False] == set(range(NUM_OPENINGS))
    longest = 0
    for (strong, doubtful), some in openings.items():
        for emotion, opening, variant in product(EMOTIONS, some, range(NUM_VARIANTS)):
            for loudness, pace, pitch in product(*(((None), *those) for those in values)):
                worded = {Slot.LOUDNESS: loudness, Slot.PACE: pace, Slot.PITCH: pitch}
                said = {slot: value for slot, value in worded.items() if value is not None}
                if len(said) == 2:
                    plan = CaptionPlan(
                        CaptionLength.SHORT, said, strong, doubtful, opening, variant
                    )
                    longest = max(longest, len(caption_text(emotion, plan).split()))
    assert longest <= 12


def test_no_opening_prevails() -> None:
    openings = Counter(" ".join(text.lower().split()[:3]) for text in captions(1000))
    assert openings.most_common(1)[0][1] <= 500
    assert len(openings) >= 15


def test_captions_have_many_words() -> None:
    words = {word for text in captions(3000) for word in re.findall(r"[a-z'-]+", text.lower())}
    assert len(words) >= 250


@given(emotion=emotions, seed=seeds)
def test_variants_and_openings_differ(emotion: str, seed: int) -> None:
    plan = random_plan(random.Random(seed))
    worded = {
        emotion_clause(emotion, CaptionPlan(plan.length, plan.values, opening=n, variant=m))
        for n in range(NUM_OPENINGS)
        for m in range(NUM_VARIANTS)
    }
    assert len(worded) >= 4 * NUM_OPENINGS


@given(seed=seeds, opening=st.integers(0, NUM_OPENINGS - 1), variant=st.integers(0, 5))
def test_ungraded_emotions_have_no_strength(seed: int, opening: int, variant: int) -> None:
    length = CaptionLength.NORMAL
    for emotion in UNGRADED:
        strong = CaptionPlan(length, {}, is_strong=True, opening=opening, variant=variant)
        plain = CaptionPlan(length, {}, opening=opening, variant=variant)
        assert caption_text(emotion, strong) == caption_text(emotion, plain)


@given(emotion=st.sampled_from([e for e in EMOTIONS if e not in UNGRADED]), seed=seeds)
def test_strong_and_doubtful_feelings_are_worded(emotion: str, seed: int) -> None:
    rng = random.Random(seed)
    opening, variant = rng.randrange(NUM_OPENINGS), rng.randrange(NUM_VARIANTS)
    plain, strong, doubtful = (
        emotion_clause(
            emotion, CaptionPlan(CaptionLength.NORMAL, {}, *how, opening=opening, variant=variant)
        )
        for how in ((False, False), (True, False), (False, True))
    )
    graded = r"\b(?:very|deeply|intensely|strongly|intense|great|deep|strong)\b"
    forms = "|".join(LEXICON["emotion"][emotion]["strong"])
    assert re.search(rf"{graded}|\b(?:{forms})\b", strong)
    assert not re.search(graded, plain)
    assert re.search(r"\b(?:possibly|perhaps|apparently|hint|like|suggestion)\b", doubtful)


def test_random_plans_cover_every_value() -> None:
    rng = random.Random(0)
    seen = {item for _ in range(3000) for item in random_plan(rng).values.items()}
    every = {(slot, value) for slot, values in WORDED_VALUES.items() for value in values}
    assert seen == {(slot, value) for slot, value in every if slot is not Slot.EMOTION}
