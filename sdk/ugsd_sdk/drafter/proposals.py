"""Guesses how a caption goes on: the clauses that the drafter usually words a plan with.

``proposals.json`` is a decision diagram of clauses (:class:`ProposalTable`), made of the grammar of
captions that the decoder learnt from. It has no words that a caption could not have, and holds
nothing of earlier clips: what is proposed depends on the plan and the draft alone. The decoder
checks every proposal (:mod:`~ugsd_sdk.drafter.guided_session`), so a wrong one costs time only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, takewhile
from typing import Annotated, Self

from pydantic import Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.attributes.plan import WORDED_VALUES, CaptionPlan
from ugsd_sdk.attributes.slots import Slot

__all__ = [
    "CaptionProposer",
    "ClauseFeature",
    "ProposalTable",
    "clause_features",
    "parse_proposals",
]

_MAX_ITEMS = 500_000
_Id = Annotated[int, Field(ge=0)]


class ClauseFeature(StrEnum):
    """What the words of a clause depend on."""

    PREVIOUS = "previous"
    """The slot of the clause before, "" for the first."""
    NEXT = "next"
    """The slot of the clause after, "" for the last."""
    LENGTH = "length"
    OPENING = "opening"
    STRENGTH = "strength"
    """``strong``, ``doubtful`` or ``plain``."""
    PREVIOUS_VALUE = "previous_value"
    """The value of the clause before, "" for the first."""
    VALUE = "value"
    VARIANT = "variant"


def clause_features(plan: CaptionPlan, emotion: str, slot: Slot) -> Mapping[ClauseFeature, str]:
    """Return the features of the clause of ``slot``, one of ``plan.slots``, in a caption that names
    ``emotion``."""
    values = {Slot.EMOTION: emotion, **plan.values}
    slots = plan.slots
    place = slots.index(slot)
    previous = slots[place - 1] if place else None
    strength = "strong" if plan.is_strong else "doubtful" if plan.is_doubtful else "plain"
    return {
        ClauseFeature.PREVIOUS: previous or "",
        ClauseFeature.NEXT: next(iter(slots[place + 1 :]), ""),
        ClauseFeature.LENGTH: plan.length,
        ClauseFeature.OPENING: str(plan.opening),
        ClauseFeature.STRENGTH: strength,
        ClauseFeature.PREVIOUS_VALUE: values[previous] if previous else "",
        ClauseFeature.VALUE: values[slot],
        ClauseFeature.VARIANT: str(plan.variant),
    }


class _ProposalsFile(StrictModel):
    """``proposals.json``. An id below the number of clauses is that of a clause; the nodes follow,
    and refer to smaller ids only."""

    format: Annotated[int, exactly(1)]
    clauses: tuple[Annotated[tuple[_Id, ...], Field(min_length=1)], ...]
    nodes: tuple[tuple[ClauseFeature, dict[str, _Id]], ...]
    roots: dict[Slot, _Id]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for own_id, (_, children) in enumerate(self.nodes, len(self.clauses)):
            if any(child >= own_id for child in children.values()):
                raise ValueError("a node refers to one that is not before it")
        if any(root >= len(self.clauses) + len(self.nodes) for root in self.roots.values()):
            raise ValueError("a slot has no node")
        return self


@dataclass(frozen=True)
class ProposalTable:
    """The usual clauses of a drafter."""

    clauses: Sequence[Sequence[int]]
    nodes: Sequence[tuple[ClauseFeature, Mapping[str, int]]]
    """A feature, and for each of its values the id of a clause or of an earlier node. The ids of
    nodes follow those of clauses."""
    roots: Mapping[Slot, int]

    def clause(self, slot: Slot, features: Mapping[ClauseFeature, str]) -> Sequence[int]:
        """Return the tokens of the clause of ``slot``; none if it is not in the table."""
        found = self.roots.get(slot)
        while found is not None and found >= len(self.clauses):
            feature, children = self.nodes[found - len(self.clauses)]
            found = children.get(features[feature])
        return () if found is None else self.clauses[found]


def parse_proposals(data: bytes, *, num_tokens: int) -> ProposalTable:
    """Return the table in ``proposals.json`` for a vocabulary of ``num_tokens``. Raises
    :class:`ValueError`."""
    file = read_json(_ProposalsFile, data, max_items=_MAX_ITEMS)
    if any(max(clause) >= num_tokens for clause in file.clauses):
        raise ValueError("a token id is not in the vocabulary")
    return ProposalTable(file.clauses, file.nodes, file.roots)


class CaptionProposer:
    """Proposes the rest of one caption."""

    def __init__(
        self,
        table: ProposalTable,
        plan: CaptionPlan,
        *,
        emotion: str,
        slots: Sequence[Slot | None],
        stop: Sequence[int],
    ) -> None:
        """``emotion`` is the one that the caption probably names. ``slots`` (V,) are those of the
        tokens, and ``stop`` is how every caption ends, without the end marker."""
        self._table = table
        self._plan = plan
        self._emotion = emotion
        self._slots = slots
        self._stop = stop
        self._caption = [*chain.from_iterable(map(self._planned, plan.slots)), *stop]

    def __call__(self, tokens: Sequence[int]) -> Sequence[int]:
        """Return what may follow ``tokens``; nothing if their last clause is worded otherwise."""
        count = len(tokens)
        if list(tokens) == self._caption[:count]:
            return self._caption[count:]
        slot = self._slots[tokens[-1]]
        if slot is None or slot not in self._plan.slots:
            return ()
        begun = list(takewhile(lambda token: self._slots[token] is slot, reversed(tokens)))[::-1]
        fitting = (one for one in self._usual(slot) if list(one[: len(begun)]) == begun)
        whole = next(fitting, None)
        if whole is None:
            return ()
        later = self._plan.slots[self._plan.slots.index(slot) + 1 :]
        return [*whole[len(begun) :], *chain.from_iterable(map(self._planned, later)), *self._stop]

    def _planned(self, slot: Slot) -> Sequence[int]:
        return self._table.clause(slot, clause_features(self._plan, self._emotion, slot))

    def _usual(self, slot: Slot) -> Iterator[Sequence[int]]:
        """Yield the planned clause of ``slot``, and those of other values in the same wording."""
        yield self._planned(slot)
        features = clause_features(self._plan, self._emotion, slot)
        for value in WORDED_VALUES[slot]:
            yield self._table.clause(slot, {**features, ClauseFeature.VALUE: value})
