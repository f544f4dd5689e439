"""The table of usual clauses words plans as the grammar does, and the bundled ones are its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.proposals import proposals_json, write_proposals
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.bundle import BUNDLED, PROPOSALS_FILE, DrafterBundle
from ugsd_sdk.drafter.proposals import clause_features, parse_proposals

_CAPTIONS = 500


@pytest.fixture(scope="module")
def made(vocabulary: Vocabulary) -> bytes:
    return proposals_json(vocabulary)


def usual_clauses(made: bytes, vocabulary: Vocabulary) -> Iterator[bool]:
    """Yield for clauses of random captions whether the table has the grammar's words."""
    table = parse_proposals(made, num_tokens=len(vocabulary))
    rng = random.Random("other plans than those that the table was made of")
    for _ in range(_CAPTIONS):
        plan, emotion = random_plan(rng, is_strong=rng.random() < 0.3), rng.choice(EMOTIONS)
        for clause in clauses(emotion, plan):
            if clause.slot is not None:
                found = table.clause(clause.slot, clause_features(plan, emotion, clause.slot))
                yield list(found) == vocabulary.encode([clause])


def test_table_has_the_words_of_other_plans(made: bytes, vocabulary: Vocabulary) -> None:
    found = list(usual_clauses(made, vocabulary))
    assert sum(found) >= 0.999 * len(found)


def test_table_is_a_small_file(made: bytes) -> None:
    assert len(made) <= 100_000


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tables_are_those_of_the_grammar(name: str, made: bytes) -> None:
    assert DrafterBundle.of(name).listed_text(PROPOSALS_FILE) == made


def test_table_is_written_into_a_folder(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ugsd_lab.data.proposals.proposals_json", lambda _: b"the table")
    path = write_proposals(tmp_path, vocabulary)
    assert path == tmp_path / PROPOSALS_FILE
    assert path.read_bytes() == b"the table"
