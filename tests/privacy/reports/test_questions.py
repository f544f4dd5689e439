"""Reports say what each block asked, and how far the verifier might go on."""

from __future__ import annotations

import dataclasses

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo, Disclosure
from ugsd_privacy.reports.questions import question_of, questions_of


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ((AskedSlot.EMOTION, ContinueTo.NOTHING, 0), "about the emotion, and nothing more"),
        (
            (AskedSlot.EMOTION, ContinueTo.CLAUSE, 0),
            "about the emotion, and how the clause goes on",
        ),
        (
            (AskedSlot.ANY_TOKEN, ContinueTo.CAPTION, 0),
            "about any of the words, and how the caption goes on",
        ),
        (
            (AskedSlot.EMOTION, ContinueTo.NOTHING, 9),
            "about the emotion, and nothing more, with the probabilities of 9 values",
        ),
    ],
)
def test_question_is_said_in_words(asked: tuple[AskedSlot, ContinueTo, int], text: str) -> None:
    assert question_of(*asked).text() == text


def test_every_slot_and_continuation_has_words() -> None:
    texts = {question_of(s, c, n).text() for s in AskedSlot for c in ContinueTo for n in (0, 2)}
    assert len(texts) == len(AskedSlot) * len(ContinueTo) * 2


def test_each_question_of_records_is_listed_once(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    plain = dataclasses.replace(world.escalation(), slot=AskedSlot.EMOTION)
    weighted = dataclasses.replace(
        plain,
        disclosure=Disclosure.DISTRIBUTIONS,
        state_positions=(),
        states=plain.states[:0],
        draft_weights=b"\1\2",
    )
    for escalation in (plain, weighted, plain):
        egress.seal_block(world.channel, caption, escalation)
    egress.seal_cover_frame(world.channel, caption)
    found = list(questions_of([world.record(index) for index in range(5)]))
    nothing = ContinueTo.NOTHING
    assert found == [question_of(AskedSlot.EMOTION, nothing, n) for n in (0, 2)]
