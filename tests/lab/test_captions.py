from __future__ import annotations

import random
from itertools import product
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.captions import ATTRIBUTE_WORDS, Facts, attributes_named, caption, references
from ugsd_lab.corpora import EMOTIONS, Clip
from ugsd_lab.prosody import Level, Levels

levels = st.sampled_from(list[Level](["low", "mid", "high"]))
facts = st.builds(
    Facts,
    gender=st.sampled_from(["female", "male"]),
    emotion=st.sampled_from(EMOTIONS),
    intensity=st.sampled_from([None, "normal", "strong"]),
    levels=st.builds(
        Levels, pitch=levels, melody=levels, loudness=levels, pace=levels, pauses=levels,
        brightness=levels, clarity=levels,
    ),
)  # fmt: skip


@given(facts, st.integers(0, 2**32))
def test_a_caption_states_the_facts_and_no_contradiction(known: Facts, seed: int) -> None:
    text = caption(known, random.Random(seed))
    assert attributes_named(text, "emotion") == {known.emotion}
    assert attributes_named(text, "gender") == {known.gender}
    assert attributes_named(text, "pitch") == {known.levels.pitch}
    assert attributes_named(text, "melody") <= {known.levels.melody}
    assert attributes_named(text, "loudness") <= {known.levels.loudness}
    assert attributes_named(text, "pace") <= {known.levels.pace}
    assert text[0].isupper()
    assert text.endswith(".")
    assert 9 <= len(text.split()) <= 40


@given(facts, st.integers(0, 2**32))
def test_gender_can_be_left_out(known: Facts, seed: int) -> None:
    text = caption(known, random.Random(seed), gender=False)
    assert not attributes_named(text, "gender")


def test_no_phrase_stands_for_two_values() -> None:
    for values in ATTRIBUTE_WORDS.values():
        for (_, some), (_, others) in product(values.items(), repeat=2):
            assert some is others or not set(some) & set(others)


def test_references_are_different_and_the_same_again() -> None:
    clip = Clip(
        Path("x/15a01Wa.opus"), "emodb", "15", "male", "German", "angry", None, "Guten Tag", "test"
    )
    found = Levels("high", "high", "high", "high", "low", "high", "mid")
    first = references(clip, found)
    assert first == references(clip, found)
    assert len(set(first)) == 5
    assert first != references(clip, found, seed=1)
    assert not any(word in text.lower() for text in first for word in ("guten", "german"))


def test_a_caption_that_names_two_emotions_is_seen_to() -> None:
    assert attributes_named("She sounds sad, and then furious.", "emotion") == {"sad", "angry"}
    assert attributes_named("A man sounds unhappy.", "emotion") == set()
