from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.captions import (
    MAX_WORDS,
    MIN_WORDS,
    AttributeLabels,
    caption,
    references,
)
from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.lexicon import GENDERED, LEXICON, attributes_named
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
        Levels, pitch=levels, variation=levels, loudness=levels, pace=levels, pauses=levels,
        clarity=levels,
    ),
)  # fmt: skip
seeds = st.integers(0, 2**32)

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
    assert named(text)["emotion"]
    measured = ("loudness", "pace", "pitch", "variation", "quality", "pauses")
    assert sum(bool(named(text)[attribute]) for attribute in measured) >= 2


@given(known, seeds, st.booleans())
def test_caption_is_one_bounded_sentence(labels: AttributeLabels, seed: int, gender: bool) -> None:
    text = caption(labels, random.Random(seed), gender=gender)
    assert MIN_WORDS <= len(text.split()) <= MAX_WORDS
    assert re.fullmatch(r"[A-Z][a-z'-]*(?:[,;]? [a-z'-]+)+\.", text)
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


@given(known)
def test_only_strong_emotions_get_strong_words(labels: AttributeLabels) -> None:
    strong = LEXICON["emotion"][labels.emotion]["strong"]
    rng = random.Random(0)
    texts = [caption(labels, rng) for _ in range(40)]
    strong_texts = [
        text for text in texts if any(re.search(rf"\b{p}\b", text, re.I) for p in strong)
    ]
    assert not strong_texts or labels.intensity == "strong"


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
