from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.captions import ATTRIBUTE_WORDS, GENDERED, AttributeLabels, caption, corrected
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.prosody import Levels
from ugsd_lab.data.vocabulary import BOS, EOS, UNKNOWN, Vocabulary
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase, with_gender

LEVELS = Levels("low", "high", "mid", "low", "mid", "high")
EVERY = [
    AttributeLabels(gender, emotion, intensity, LEVELS)
    for gender, emotion, intensity in product(
        ("female", "male", None), EMOTIONS, ("normal", "strong", None)
    )
]
labels = st.sampled_from(EVERY)
seeds = st.integers(0, 2**32)


def captions() -> list[str]:
    rng = random.Random(0)
    return [caption(some, rng, gender=False) for some in EVERY for _ in range(20)]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(captions())


@given(labels=labels, other=labels, seed=seeds)
def test_captions_and_corrected_drafts_round_trip(
    vocabulary: Vocabulary, labels: AttributeLabels, other: AttributeLabels, seed: int
) -> None:
    rng = random.Random(seed)
    draft = caption(other, rng, gender=False)
    right = "".join(after for _, after in corrected(draft, labels, rng))
    for text in (draft, right):
        tokens = vocabulary.encode(text)
        assert UNKNOWN not in tokens
        assert vocabulary.decode([BOS, *tokens, EOS]) == text


@given(labels=labels, other=labels, seed=seeds)
def test_given_tokens_cover_the_pieces_before(
    vocabulary: Vocabulary, labels: AttributeLabels, other: AttributeLabels, seed: int
) -> None:
    rng = random.Random(seed)
    pieces = corrected(caption(other, rng, gender=False), labels, rng)
    for cut in range(len(pieces) + 1):
        before = "".join(draft for draft, _ in pieces[:cut])
        whole = before + "".join(right for _, right in pieces[cut:])
        tokens, given_tokens = vocabulary.encode_from(whole, len(before))
        assert tokens == vocabulary.encode(whole)
        assert vocabulary.decode(tokens[:given_tokens]) == before.strip()


@pytest.mark.parametrize("attribute", sorted(ATTRIBUTE_WORDS.keys() - {"gender"}))
def test_every_phrase_is_in_every_vocabulary(attribute: str) -> None:
    vocabulary = Vocabulary.train(["A speaker."])
    for phrases in ATTRIBUTE_WORDS[attribute].values():
        for phrase in phrases:
            for text in (f"a {phrase}", phrase[0].upper() + phrase[1:], f"a {phrase}."):
                assert UNKNOWN not in vocabulary.encode(text), text


@given(labels=labels, seed=seeds)
def test_gendered_pieces_spell_the_gendered_caption(
    vocabulary: Vocabulary, labels: AttributeLabels, seed: int
) -> None:
    pieces = json.loads(vocabulary.pieces_json)
    tokens = vocabulary.encode(caption(labels, random.Random(seed), gender=False))
    phrases = [GenderedPhrase(**words) for words in GENDERED]
    worded = with_gender([pieces[token] for token in tokens], labels.gender, phrases)  # type: ignore[arg-type]
    assert len(worded) == len(tokens)
    assert "".join(worded).strip() == caption(labels, random.Random(seed), gender=True)


def test_no_token_spells_a_gender(vocabulary: Vocabulary) -> None:
    """A word outside the vocabulary cannot be sent."""
    words = {piece.removeprefix("\u2581").lower() for piece in vocabulary.pieces}
    gendered = {p for phrases in ATTRIBUTE_WORDS["gender"].values() for p in phrases}
    assert gendered == {"woman", "man", "she", "he", "her", "his"}
    assert not words & gendered
    assert {"speaker", "speaker's"} <= words


def test_word_is_one_token_in_any_position(vocabulary: Vocabulary) -> None:
    one, two = (
        vocabulary.encode(text) for text in ("a furious speaker, sad.", "a speaker, furious.")
    )
    assert len(one) == 6
    assert one[1] == two[3]
    assert len(vocabulary.encode("a matter-of-fact speaker")) == 3


def test_list_of_pieces_is_enough_to_decode(vocabulary: Vocabulary) -> None:
    pieces = json.loads(vocabulary.pieces_json)
    assert len(pieces) == len(vocabulary)
    assert pieces[:4] == [""] * 4
    for text in captions()[:20]:
        assert "".join(pieces[token] for token in vocabulary.encode(text)).strip() == text


def test_vocabulary_is_reproducible_and_can_be_stored(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    assert Vocabulary.train(captions()).sha256 == vocabulary.sha256
    vocabulary.save(tmp_path / "tokenizer.json")
    read = Vocabulary.load(tmp_path / "tokenizer.json")
    assert read.sha256 == vocabulary.sha256
    assert read.encode("A speaker sounds sad.") == vocabulary.encode("A speaker sounds sad.")


def test_content_tokens_state_attributes_only(vocabulary: Vocabulary) -> None:
    content = {vocabulary.pieces[t].removeprefix("\u2581") for t in vocabulary.content_tokens()}
    assert {"furious", "Furious", "low", "slowly", "pauses", "breathy"} <= content
    assert not {"the", "of", "in", "a", "A", "and", "voice", "speaks", ".", ","} & content
