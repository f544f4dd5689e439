"""Reasons are values that are stored without loss and worded only when they are shown."""

from __future__ import annotations

import dataclasses
import math
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason, reason_label, reason_text

from tests.doubles.reasons import reasons

CAP = Reason(code=ReasonCode.CAP_EXCEEDED, cap="blocks_per_day", limit=2, used=2, wanted=math.inf)
UNSURE = Reason(code=ReasonCode.ABOVE_THRESHOLD, value=0.9, threshold=0.2)
WORDS = {
    Reason(code=ReasonCode.BELOW_THRESHOLD, value=0.1, threshold=0.2): "sure: 0.1 below 0.2",
    UNSURE: "unsure: 0.9 reaches 0.2",
    dataclasses.replace(UNSURE, accepted=3, offered=5): (
        "unsure: 0.9 reaches 0.2; 3 of 5 accepted"
    ),
    dataclasses.replace(UNSURE, failure=Reason(code=ReasonCode.DEADLINE)): (
        "unsure: 0.9 reaches 0.2; sent, but not verified: deadline"
    ),
    CAP: "blocks_per_day: 2 used of 2, and states without noise have no finite epsilon: set noise",
    Reason(code=ReasonCode.BELOW_PRICE, worth=0.2, price=0.31, cap="bytes_per_day"): (
        "budget kept for better questions: worth 0.2, price 0.31 of bytes_per_day"
    ),
    Reason(code=ReasonCode.AFTER_BLOCK, start=5, failure=CAP): (
        "after the block at 5: "
        "blocks_per_day: 2 used of 2, and states without noise have no finite epsilon: set noise"
    ),
    Reason(code=ReasonCode.CIRCUIT_OPEN, failure=Reason(code=ReasonCode.DEADLINE)): (
        "not asked after failures in a row, the last: deadline"
    ),
    Reason(code=ReasonCode.VERIFIER_REFUSED, refusal="overloaded"): "verifier refused: overloaded",
    as_reason("mine: 5"): "mine: 5",
}


@given(reasons())
def test_reason_survives_a_round_trip(reason: Reason) -> None:
    assert Reason.from_journal(reason.to_json()) == reason
    assert Reason.from_fields(reason.to_fields()) == reason


@pytest.mark.parametrize("reason", WORDS, ids=lambda reason: reason.code)
def test_reason_text_has_words_and_numbers(reason: Reason) -> None:
    assert str(reason) == WORDS[reason]


WITH_REMEDY = {
    ReasonCode.NO_PROFILE,
    ReasonCode.DIFFERENT_SPEAKER,
    ReasonCode.SEVERAL_SPEAKERS,
    ReasonCode.NOT_JUDGED,
}


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_has_a_unique_label(code: ReasonCode) -> None:
    labels = [reason_label(other) for other in ReasonCode]
    assert labels.count(reason_label(code)) == 1
    text, _, remedy = reason_text(as_reason(code)).partition(": ")
    assert text == reason_label(code)
    assert bool(remedy) == (code in WITH_REMEDY)


@pytest.mark.parametrize(
    "note",
    [
        "sure: 0.1 below 0.2",
        "after the block at 5: blocks_per_day: 2 used of 2, 1 more wanted",
        "",
        "[]",
        "{}",
        '{"code":"no such code"}',
        '{"code":"deadline","later":1}',
        '{"code":"deadline","value":"0.1"}',
        '{"code":"deadline","value":[]}',
        '{"code":"deadline","value":1' + "0" * 400 + "}",
        '{"code":"deadline","start":-1}',
        '{"code":"deadline","start":true}',
        '{"code":"deadline","cost":{}}',
        '{"code":"deadline","cost":[1,2,3,4]}',
        '{"code":"deadline","cost":[1,2,3,4,-5]}',
        '{"code":"deadline","cost":[1,2,3,4,true]}',
        '{"code":"other","words":"\\ud800"}',
        "[" * 100_000,
        '{"code":"after_block","failure":' * 9 + "{}" + "}" * 9,
    ],
)
def test_unknown_note_becomes_words(note: str) -> None:
    assert Reason.from_journal(note) == Reason(code=ReasonCode.OTHER, words=note)


@given(st.text(st.characters(exclude_categories=())))
def test_any_words_of_an_application_can_be_stored(words: str) -> None:
    reason = as_reason(words)
    reason.to_json().encode()
    assert Reason.from_journal(reason.to_json()) == reason


def test_numpy_numbers_become_python_numbers() -> None:
    reason = Reason(code=ReasonCode.BELOW_THRESHOLD, value=np.float32(0.5), threshold=1)  # type: ignore[arg-type]
    assert Reason.from_journal(reason.to_json()) == reason
    assert str(reason) == "sure: 0.5 below 1"


def test_sentences_in_older_ledger_stay_readable(world) -> None:
    reason = Reason(code=ReasonCode.DEADLINE)
    with world.ledger.as_owner() as owner:
        owner.append_to_journal([JournalRow(1, "ada", bytes(16), 0, 5, 0.5, "local", reason)] * 2)
    db = sqlite3.connect(world.ledger.path)
    old = "unsure: 0.9 reaches 0.2; in vain: deadline"
    db.execute("UPDATE decisions SET reason = ? WHERE id = 1", (old,))
    db.commit()
    db.close()
    with world.ledger.reading() as view:
        found = [decision.reason for decision in view.journal("ada")]
    assert found == [Reason(code=ReasonCode.OTHER, words=old), reason]


def test_amount_beyond_the_ledgers_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid cost"):
        Reason.from_fields({"code": "below_price", "cost": [1, 4, 1, 256, 10**400]})
