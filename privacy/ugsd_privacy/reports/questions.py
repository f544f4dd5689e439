"""What the blocks of a caption asked a verifier, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo
from ugsd_privacy.reports.parts import Count, Part

__all__ = ["Question", "question_of", "questions_of"]

_ABOUT: Mapping[str, str] = {
    "any_token": "about any of the words",
    "emotion": "about the emotion",
}
_CONTINUATIONS: Mapping[str, str] = {
    "nothing": "and nothing more",
    "clause": "and how the clause goes on",
    "caption": "and how the caption goes on",
}


class Question(Part):
    """What a block asked."""

    slot: Literal["any_token", "emotion"]
    """The slot that the verifier was to judge; `any_token` if it was any of the words."""
    continue_to: Literal["nothing", "clause", "caption"]
    """How far the verifier might go on after what it accepts and corrects."""
    num_draft_weights: Count
    """How many probabilities of values were sent, from which the device drew its own; 0 unless it
    accepts speculatively."""

    def text(self) -> str:
        """Say in words what was asked."""
        asked = f"{_ABOUT[self.slot]}, {_CONTINUATIONS[self.continue_to]}"
        sent = f", with the probabilities of {self.num_draft_weights} values"
        return asked + (sent if self.num_draft_weights else "")


def question_of(slot: AskedSlot, continue_to: ContinueTo, num_draft_weights: int) -> Question:
    """Return the question of a block or its record."""
    return Question.model_validate(
        {
            "slot": slot.name.lower(),
            "continue_to": continue_to.name.lower(),
            "num_draft_weights": num_draft_weights,
        }
    )


def questions_of(records: Sequence[EgressRecord]) -> Iterator[Question]:
    """Yield the questions of ``records``, each once."""
    seen: set[tuple[AskedSlot, ContinueTo, int]] = set()
    for record in records:
        if record.slot is None or record.continue_to is None:
            continue
        asked = (record.slot, record.continue_to, record.num_draft_weights)
        if asked not in seen:
            seen.add(asked)
            yield question_of(*asked)
