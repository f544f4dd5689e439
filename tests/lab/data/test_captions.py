from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.captions import (
    ATTRIBUTE_WORDS,
    GENDERED,
    LEXICON,
    MAX_WORDS,
    MIN_WORDS,
    AttributeLabels,
    attributes_named,
    caption,
    corrected,
    references,
)
from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.prosody import Level, Levels
from ugsd_lab.errors import CorpusError
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase, with_gender

levels = st.sampled_from(list[Level](["low", "mid", "high"]))
known = st.builds(
    AttributeLabels,
    gender=st.sampled_from(["female", "male"]),
    emotion=st.sampled_from(EMOTIONS),
    intensity=st.sampled_from([None, "normal", "strong"]),
    levels=st.builds(
        Levels, pitch=levels, melody=levels, loudness=levels, pace=levels, pauses=levels,
        clarity=levels,
    ),
)  # fmt: skip
seeds = st.integers(0, 2**32)
phrases = st.sampled_from(
    [p for values in ATTRIBUTE_WORDS.values() for ps in values.values() for p in ps]
)
between = st.sampled_from(["a", "an", "A", "voice", "speaks", "and", "very", ",", ";", "in", "the"])
word_soup = st.lists(phrases | between, max_size=12).map(" ".join)
"""What an untrained drafter may write."""

ANGRY = Clip(
    Path("x/15a01Wa.opus"), "emodb", "15", "male", "German", "angry", None, "Guten Tag", "test"
)
LOUD = Levels("high", "high", "high", "high", "low", "mid")


def named(text: str) -> dict[str, set[str]]:
    return {attribute: attributes_named(text, attribute) for attribute in LEXICON}


def wrong_articles(text: str) -> list[str]:
    return re.findall(r"\b(?:a(?= [aeiou])|an(?= [^aeiou]))\b", text, re.IGNORECASE)


@given(known, seeds)
def test_caption_states_its_labels_without_contradiction(
    labels: AttributeLabels, seed: int
) -> None:
    text = caption(labels, random.Random(seed))
    for attribute, values in named(text).items():
        assert values <= {labels.value(attribute)}, attribute
    for attribute in ("emotion", "pitch", "gender"):
        assert named(text)[attribute], attribute
    assert attributes_named(text, "pace") | attributes_named(text, "loudness")


@given(known, seeds, st.booleans())
def test_caption_has_12_to_40_words(labels: AttributeLabels, seed: int, gender: bool) -> None:
    text = caption(labels, random.Random(seed), gender=gender)
    assert MIN_WORDS <= len(text.split()) <= MAX_WORDS
    assert re.fullmatch(r"[A-Z][a-z'-]*(?:[,;:]? [a-z'-]+)+\.", text)
    assert not wrong_articles(text)


@given(known, seeds)
def test_unknown_or_omitted_gender_is_not_mentioned(labels: AttributeLabels, seed: int) -> None:
    for text in (
        caption(labels, random.Random(seed), gender=False),
        caption(replace(labels, gender=None), random.Random(seed)),
    ):
        assert not attributes_named(text, "gender")
        assert not re.search(r"\b(?:fe)?male|\b(?:wo)?m[ae]n\b|\b(?:s?he|his|hers?|him)\b", text)


@given(known, seeds)
def test_gendered_caption_is_the_devices_rewording(labels: AttributeLabels, seed: int) -> None:
    neutral = caption(labels, random.Random(seed), gender=False)
    for gender in ("female", "male"):
        some = replace(labels, gender=gender)
        worded = "".join(
            with_gender([neutral], gender, [GenderedPhrase(**words) for words in GENDERED])
        )
        assert worded == caption(some, random.Random(seed))


@given(known, seeds)
def test_neutral_caption_is_the_same_for_every_gender(labels: AttributeLabels, seed: int) -> None:
    every = (replace(labels, gender=gender) for gender in ("female", "male", None))
    assert len({caption(some, random.Random(seed), gender=False) for some in every}) == 1


@given(known, seeds)
def test_inner_clause_has_commas_on_both_sides(labels: AttributeLabels, seed: int) -> None:
    text = caption(labels, random.Random(seed))
    for clause in (p for phrases in ATTRIBUTE_WORDS["pauses"].values() for p in phrases):
        if clause in text:
            assert re.search(rf", {clause}[,;:.]", text)


@given(known, seeds)
def test_neutral_and_calm_have_no_degrees(labels: AttributeLabels, seed: int) -> None:
    if labels.emotion in ("neutral", "calm"):
        text = caption(labels, random.Random(seed))
        assert not re.search(
            r"\b(?:slightly|somewhat|a little|very|deeply|intensely|clearly|rather|quite|a touch of"
            r"|some (?!melody)|mild|intense|great (?!deal|vocal))\b",
            text,
        )


def test_emotion_words_can_stand_before_a_noun() -> None:
    """Neither "a put off speaker" nor "a tired of it all speaker"."""
    for forms in LEXICON["emotion"].values():
        for phrase in forms["adjective"] + forms["strong"]:
            assert re.fullmatch(r"(?:[a-z]+ly )?[a-z-]+", phrase), phrase


@given(known)
def test_only_strong_emotions_get_strong_words(labels: AttributeLabels) -> None:
    strong = LEXICON["emotion"][labels.emotion]["strong"]
    rng = random.Random(0)
    texts = [caption(labels, rng) for _ in range(40)]
    strong_texts = [
        text for text in texts if any(re.search(rf"\b{p}\b", text, re.I) for p in strong)
    ]
    assert not strong_texts or labels.intensity == "strong"


@pytest.mark.parametrize("attribute", LEXICON)
def test_every_phrase_of_the_lexicon_is_used(attribute: str) -> None:
    """A phrase that no caption uses is never learnt."""
    rng = random.Random(1)
    for value in LEXICON[attribute]:
        unused = set(ATTRIBUTE_WORDS[attribute][value])
        for _ in range(4000):
            text = caption(_with(attribute, value), rng)
            unused -= {p for p in unused if re.search(rf"(?<![\w-]){p}(?![\w-])", text, re.I)}
            if not unused:
                break
        assert not unused, (value, unused)


def _with(attribute: str, value: str) -> AttributeLabels:
    labels = AttributeLabels("female", "sad", "strong", LOUD)
    if attribute == "gender":
        return replace(labels, gender=value)
    if attribute == "emotion":
        return replace(labels, emotion=value)
    if attribute == "quality":
        every = (
            replace(LOUD, loudness=loudness, clarity=clarity)
            for loudness in ("low", "mid", "high")
            for clarity in ("low", "mid", "high")
        )
        return replace(labels, levels=next(some for some in every if some.quality == value))
    return replace(labels, levels=Levels(**(vars(LOUD) | {attribute: value})))


def test_no_phrase_of_the_lexicon_is_ambiguous() -> None:
    meanings = [
        (attribute, value, phrase)
        for attribute, values in ATTRIBUTE_WORDS.items()
        for value, some in values.items()
        for phrase in some
    ]
    for (attribute, value, phrase), (other, its_value, longer) in combinations(meanings, 2):
        if (attribute, value) != (other, its_value):
            assert phrase != longer
        if attribute != other:
            assert not re.search(rf"(?<![\w-]){phrase}(?![\w-])", longer)
            assert not re.search(rf"(?<![\w-]){longer}(?![\w-])", phrase)


@given(known, word_soup, seeds)
def test_corrected_draft_contradicts_no_label(
    labels: AttributeLabels, draft: str, seed: int
) -> None:
    pieces = corrected(draft, labels, random.Random(seed))
    assert "".join(before for before, _ in pieces) == draft
    right = "".join(after for _, after in pieces)
    for attribute, values in named(right).items():
        assert values <= {labels.value(attribute)}, attribute
        assert bool(values) == bool(attributes_named(draft, attribute)), attribute


@given(known, known, seeds)
def test_caption_of_another_clip_is_fully_corrected(
    labels: AttributeLabels, others: AttributeLabels, seed: int
) -> None:
    rng = random.Random(seed)
    right = "".join(after for _, after in corrected(caption(others, rng), labels, rng))
    assert attributes_named(right, "emotion") == {labels.emotion}
    assert attributes_named(right, "gender") == {labels.gender}
    assert right[0].isupper()
    assert right.endswith(".")
    assert not wrong_articles(right)


@given(known, seeds, st.booleans())
def test_correct_caption_is_not_changed(labels: AttributeLabels, seed: int, gender: bool) -> None:
    text = caption(labels, random.Random(seed), gender=gender)
    assert corrected(text, labels, random.Random(0)) == [(text, text)]


@pytest.mark.parametrize(
    ("draft", "emotion", "right"),
    [
        ("A sad man speaks.", "angry", r"An? [a-z]+ man speaks\."),
        ("An angry man speaks.", "sad", r"An? [a-z]+ man speaks\."),
        ("He is an angry man.", "sad", r"He is an? [a-z]+ man\."),
        ("He smiles. A sad man.", "angry", r"He smiles\. An? [a-z]+ man\."),
        ("Angry he sounds.", "sad", r"[A-Z][a-z]+ he sounds\."),
    ],
)
def test_articles_and_capitals_follow_the_corrected_word(
    draft: str, emotion: str, right: str
) -> None:
    for seed in range(40):
        labels = AttributeLabels("male", emotion, None, LOUD)
        text = "".join(after for _, after in corrected(draft, labels, random.Random(seed)))
        assert re.fullmatch(right, text)
        assert not wrong_articles(text)


@pytest.mark.parametrize("attribute", LEXICON)
def test_wrong_phrase_is_replaced_by_the_same_form(attribute: str) -> None:
    for right, value in permutations(LEXICON[attribute], 2):
        forms = LEXICON[attribute][right]
        for form, some in LEXICON[attribute][value].items():
            for phrase in some:
                draft = f"the {phrase}, so"
                pieces = corrected(draft, _with(attribute, right), random.Random(0))
                changed = [(before, after) for before, after in pieces if before != after]
                assert [before for before, _ in changed] == [phrase]
                assert changed[0][1] in (forms.get(form) or forms["adjective"])


def test_references_are_distinct_and_reproducible() -> None:
    first = references(ANGRY, LOUD)
    assert first == references(ANGRY, LOUD)
    assert len(set(first)) == 5
    assert references(ANGRY, LOUD, count=9)[:5] == first
    assert first != references(ANGRY, LOUD, seed=1)
    assert not any(word in text.lower() for text in first for word in ("guten", "german"))


def test_clip_without_a_label_has_no_references() -> None:
    with pytest.raises(CorpusError, match="15a01Wa has no emotion label"):
        references(replace(ANGRY, emotion=None), LOUD)


def test_caption_naming_two_emotions_is_detected() -> None:
    assert attributes_named("She sounds sad, and then furious.", "emotion") == {"sad", "angry"}
    assert attributes_named("A man sounds matter-of-fact.", "emotion") == {"neutral"}
    assert attributes_named("Saddened, he clearly resounds.", "emotion") == set()
