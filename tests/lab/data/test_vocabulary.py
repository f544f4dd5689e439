"""The vocabulary: each token belongs to one slot, and states what the slots file says."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.grammar import Clause, caption_text, clauses
from ugsd_lab.data.lexicon import ATTRIBUTE_WORDS, GENDERED
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase, with_gender
from ugsd_sdk.drafter.slot_table import parse_slots

emotions = st.sampled_from(EMOTIONS)
seeds = st.integers(0, 2**32)


@given(emotion=emotions, is_strong=st.booleans(), seed=seeds)
def test_grammar_closes_under_the_vocabulary(
    vocabulary: Vocabulary, emotion: str, is_strong: bool, seed: int
) -> None:
    plan = random_plan(random.Random(seed), is_strong=is_strong)
    parts = clauses(emotion, plan)
    tokens = vocabulary.encode(parts)
    assert vocabulary.decode([BOS, *tokens, EOS, PAD]) == caption_text(emotion, plan)
    assert vocabulary.emotions_named(tokens) == {emotion}
    for clause in parts:
        own = vocabulary.encode([clause])
        assert {vocabulary.slots[token] for token in own} == {clause.slot}
        if clause.slot is not None:
            value = emotion if clause.slot is Slot.EMOTION else plan.values[clause.slot]
            assert set(own) <= set(vocabulary.values[clause.slot.value][value])


@given(emotion=emotions, seed=seeds)
def test_device_reads_the_slots(vocabulary: Vocabulary, emotion: str, seed: int) -> None:
    table = parse_slots(vocabulary.slots_json, num_tokens=len(vocabulary))
    plan = random_plan(random.Random(seed))
    for clause in clauses(emotion, plan)[:-1]:
        assert clause.slot is not None
        own = vocabulary.encode([clause])
        compatible = table.compatible(clause.slot, own)
        value = emotion if clause.slot is Slot.EMOTION else plan.values[clause.slot]
        assert table.is_stated(clause.slot, value, compatible)
        others = [other for other in compatible if other != value]
        assert not any(table.is_stated(clause.slot, other, compatible) for other in others)
    assert table.emotion_in(vocabulary.encode(clauses(emotion, plan))) == emotion


def test_vocabulary_is_small_enough_for_one_caption(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) < 700
    rng = random.Random(0)
    longest = max(len(vocabulary.encode(clauses("bored", random_plan(rng)))) for _ in range(3000))
    assert longest < 95


def test_same_word_of_two_slots_is_two_tokens(vocabulary: Vocabulary) -> None:
    loud, fast = (vocabulary.encode([Clause(slot, " in")]) for slot in (Slot.LOUDNESS, Slot.PACE))
    assert loud != fast
    pairs = list(zip(vocabulary.slots, vocabulary.pieces, strict=True))[3:]
    assert len(set(pairs)) == len(pairs)


def test_vocabulary_can_be_stored(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path)
    read = Vocabulary.load(tmp_path)
    assert read.sha256 == vocabulary.sha256
    assert read.slots_json == vocabulary.slots_json
    pieces = json.loads((tmp_path / "vocabulary.json").read_text())
    assert pieces[:3] == ["", "", ""]
    assert all(pieces[3:])


@given(emotion=emotions, seed=seeds, gender=st.sampled_from(["female", "male"]))
def test_gendered_pieces_spell_the_gendered_caption(
    vocabulary: Vocabulary, emotion: str, seed: int, gender: str
) -> None:
    plan = random_plan(random.Random(seed))
    phrases = [GenderedPhrase(**words) for words in GENDERED]
    pieces = [vocabulary.pieces[token] for token in vocabulary.encode(clauses(emotion, plan))]
    worded = with_gender(pieces, gender, phrases)  # type: ignore[arg-type]
    assert len(worded) == len(pieces)
    whole = with_gender([caption_text(emotion, plan)], gender, phrases)  # type: ignore[arg-type]
    assert "".join(worded) == whole[0]


def test_no_token_spells_a_gender(vocabulary: Vocabulary) -> None:
    """A word outside the vocabulary cannot be sent."""
    words = {piece.strip().lower() for piece in vocabulary.pieces}
    gendered = {p for phrases in ATTRIBUTE_WORDS["gender"].values() for p in phrases}
    assert gendered == {"woman", "man", "she", "he", "her", "his"}
    assert not words & gendered
    assert "speaker" in words


def test_content_tokens_state_values(vocabulary: Vocabulary) -> None:
    content = {vocabulary.pieces[token].strip() for token in vocabulary.content_tokens()}
    assert {"furious", "low", "slowly", "breathy", "haltingly"} <= content
    assert not {"speaker", "The", "tone", ".", "sounds"} & content
