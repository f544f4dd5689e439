"""Keeps a draft to its plan: each clause in its place, with the value that was measured.

The decoder is trained to follow the plan; the guide makes sure of it, so that a caption never says
what its attributes do not. The emotion is the likeliest of those that the clause may still name,
whoever began it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter.slot_table import SlotTable

__all__ = ["CaptionEnd", "ClauseGuide", "ClauseState"]

_ORDER = {slot: place for place, slot in enumerate(Slot)}


@dataclass(frozen=True)
class CaptionEnd:
    """How captions of a vocabulary of V tokens end."""

    stop: NDArray[np.bool_]
    """(V,) the tokens of the last full stop."""
    eos: NDArray[np.bool_]
    """(V,) the end marker."""

    @classmethod
    def of(cls, table: SlotTable, pieces: Sequence[str], eos: int) -> CaptionEnd:
        """``pieces`` has the text of each token; that of special tokens is empty."""
        parts = zip(table.slots, pieces, strict=True)
        stop = np.array([slot is None and piece != "" for slot, piece in parts])
        end_marker = np.zeros_like(stop)
        end_marker[eos] = True
        return cls(stop, end_marker)


class ClauseState(NamedTuple):
    """What a guide knows of a draft: its last clause."""

    slot: Slot | None
    """The slot of the last token; ``None`` for the full stop and special tokens. That of an empty
    draft is the emotion."""
    compatible: Sequence[str]
    """The values that the clause may still state."""
    is_first: bool
    """Whether it is the caption's first clause, and about the emotion."""
    names_emotion: bool
    """Whether it has a token that only one emotion uses."""
    is_empty: bool


class ClauseGuide:
    """Which tokens may follow, for one plan."""

    def __init__(
        self,
        plan: CaptionPlan,
        table: SlotTable,
        end: CaptionEnd,
        emotions: Sequence[str] = (),
    ) -> None:
        """``emotions`` are the likeliest first."""
        self._emotions = emotions
        self._plan = plan
        self._table = table
        self._end = end
        self._within = {
            slot: table.allowed(slot, [plan.values[slot]] if slot in plan.values else every)
            for slot, every in table.values.items()
            if slot in plan.slots
        }
        self._slots = plan.slots
        self.start = ClauseState(
            Slot.EMOTION,
            tuple(table.values[Slot.EMOTION]),
            is_first=True,
            names_emotion=False,
            is_empty=True,
        )
        """The state of an empty draft."""

    def after(self, state: ClauseState, token: int) -> ClauseState:
        """Return the state of a draft in ``state`` with ``token`` appended."""
        table = self._table
        slot = table.slots[token]
        is_same = slot is state.slot
        if slot is None:
            return ClauseState(None, (), is_first=False, names_emotion=False, is_empty=False)
        before = state.compatible if is_same else table.values[slot]
        names = slot is Slot.EMOTION and bool(table.emotions_in([token]))
        return ClauseState(
            slot,
            table.still_compatible(slot, before, token),
            is_first=state.is_first and is_same,
            names_emotion=names or (is_same and state.names_emotion),
            is_empty=False,
        )

    def state_of(self, tokens: Iterable[int]) -> ClauseState:
        """Return the state of the draft ``tokens``."""
        return reduce(self.after, tokens, self.start)

    def allowed(self, state: ClauseState) -> NDArray[np.bool_]:
        """Return the (V,) tokens that may follow a draft in ``state``."""
        slot, compatible = state.slot, state.compatible
        if state.is_empty:
            return self._within[self._slots[0]]
        if slot is None:
            return self._end.eos
        if not compatible and state.names_emotion:
            return self._after(slot)  # another wrote words that do not go together: end the clause
        if not compatible:
            return self._table.allowed(slot, self._table.values[slot]) | self._after(slot)
        planned = self._plan.values.get(slot, "")
        if planned in compatible:
            within = self._within[slot]
            is_stated = self._table.is_stated(slot, planned, compatible)
        else:
            within = self._table.allowed(slot, compatible)
            is_stated = any(self._table.is_stated(slot, one, compatible) for one in compatible)
        return within | self._after(slot) if is_stated else within

    def choices(self, state: ClauseState) -> NDArray[np.bool_] | None:
        """Return the (V,) tokens that keep to one emotion after a draft in ``state``; ``None`` for
        all."""
        if not state.is_first:
            return None
        named = state.compatible
        likeliest = next((emotion for emotion in self._emotions if emotion in named), None)
        return None if likeliest is None else self._table.without_other_emotions(likeliest)

    def _after(self, slot: Slot) -> NDArray[np.bool_]:
        """Return the (V,) tokens of the planned clause after one of ``slot``, or the full stop."""
        for following in self._slots:
            if _ORDER[following] > _ORDER[slot]:
                return self._within[following]
        return self._end.stop
