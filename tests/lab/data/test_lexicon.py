"""Phrases of the lexicon, and how captions are parsed with them."""

from __future__ import annotations

import random
import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.grammar import caption_text
from ugsd_lab.data.lexicon import ATTRIBUTE_WORDS, LEXICON, attributes_named
from ugsd_lab.data.random_plans import random_plan
from ugsd_sdk.attributes.plan import UNGRADED, WORDED_VALUES
from ugsd_sdk.attributes.slots import EMOTIONS, Slot

seeds = st.integers(0, 2**32)


@given(emotion=st.sampled_from(EMOTIONS), is_strong=st.booleans(), seed=seeds)
def test_parsed_caption_is_its_plan(emotion: str, is_strong: bool, seed: int) -> None:
    plan = random_plan(random.Random(seed), is_strong=is_strong)
    text = caption_text(emotion, plan)
    assert attributes_named(text, "emotion") == {emotion}
    for attribute in LEXICON.keys() - {"emotion", "gender"}:
        value = plan.values.get(Slot(attribute))
        assert attributes_named(text, attribute) == ({value} if value else set()), text


def test_lexicon_has_the_worded_values_of_slots() -> None:
    for slot in set(Slot) - {Slot.PROFILE, Slot.PREVIOUS}:
        assert tuple(LEXICON[slot.value]) == WORDED_VALUES[slot]


def test_phrase_never_means_two_values() -> None:
    meanings = [
        (attribute, value, phrase)
        for attribute, values in ATTRIBUTE_WORDS.items()
        for value, phrases in values.items()
        for phrase in phrases
    ]
    for (attribute, value, phrase), (other, its_value, another) in combinations(meanings, 2):
        if (attribute, value) != (other, its_value):
            assert phrase != another


def test_emotion_words_can_stand_before_a_noun() -> None:
    """Neither "a put off speaker" nor "a tired of it all speaker"."""
    for forms in LEXICON["emotion"].values():
        for phrase in forms["adjective"] + forms["strong"]:
            assert re.fullmatch(r"(?:[a-z]+ly )?[a-z-]+", phrase), phrase


def test_captions_use_every_phrase() -> None:
    rng = random.Random(1)
    texts = " ".join(
        caption_text(emotion, random_plan(rng, is_strong=n % 2 == 0)).lower()
        for emotion in EMOTIONS
        for n in range(1500)
    )
    unused = {
        phrase
        for attribute, values in LEXICON.items()
        for value, forms in values.items()
        for form, phrases in forms.items()
        for phrase in phrases
        if attribute != "gender"
        and not (value in UNGRADED and form == "strong")
        and not re.search(rf"(?<![\w-]){phrase}(?![\w-])", texts)
    }
    assert not unused


@pytest.mark.parametrize(
    ("text", "attribute", "values"),
    [
        ("She sounds sad, and then furious.", "emotion", {"sad", "angry"}),
        ("A man sounds matter-of-fact.", "emotion", {"neutral"}),
        ("Saddened, he clearly resounds.", "emotion", set()),
        ("There is deep sadness in a high voice.", "pitch", {"high"}),
        ("Deep sadness colours a deep voice.", "pitch", {"low"}),
        ("Deep sadness colours a deep voice.", "emotion", {"sad"}),
        ("A gently varied voice.", "loudness", set()),
        ("Speaking quickly, the words slow down towards the end.", "pace", {"fast"}),
    ],
)
def test_named_values_are_found(text: str, attribute: str, values: set[str]) -> None:
    assert attributes_named(text, attribute) == values
