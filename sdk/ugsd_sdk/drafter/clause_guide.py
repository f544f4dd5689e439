"""Keeps a draft to its plan: each clause in its place, with the value that was measured.

The decoder is trained to follow the plan; the guide makes sure of it, so that a caption never says
what its attributes do not. The emotion is the likeliest of those that the clause may still name,
whoever began it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter.slot_table import SlotTable

__all__ = ["ClauseGuide"]

_ORDER = {slot: place for place, slot in enumerate(Slot)}


class ClauseGuide:
    """Which tokens may follow, for one plan."""

    def __init__(
        self,
        plan: CaptionPlan,
        table: SlotTable,
        pieces: Sequence[str],
        eos: int,
        emotions: Sequence[str] = (),
    ) -> None:
        """``pieces`` has the text of each token; that of special tokens is empty. ``emotions`` are
        the likeliest first."""
        self._emotions = emotions
        self._plan = plan
        self._table = table
        self._within = {
            slot: table.allowed(slot, self._planned(slot) or table.values[slot])
            for slot in plan.slots
        }
        self._end = np.zeros(len(table.slots), dtype=np.bool_)
        self._end[eos] = True
        self._stop = np.array(
            [slot is None and piece != "" for slot, piece in zip(table.slots, pieces, strict=True)]
        )

    def allowed(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        """Return the (V,) tokens that may follow ``tokens``."""
        if not tokens:
            return self._within[self._plan.slots[0]]
        slot = self._table.slots[tokens[-1]]
        if slot is None:
            return self._end
        clause = list(takewhile(lambda token: self._table.slots[token] is slot, reversed(tokens)))
        compatible = self._table.compatible(slot, clause)
        if not compatible and slot is Slot.EMOTION and self._table.emotions_in(clause):
            return self._after(slot)  # another wrote words that do not go together: end the clause
        if not compatible:
            return self._table.allowed(slot, self._table.values[slot]) | self._after(slot)
        planned = [value for value in compatible if value in self._planned(slot)]
        within = self._within[slot] if planned else self._table.allowed(slot, compatible)
        stated = any(
            self._table.is_stated(slot, value, compatible) for value in planned or compatible
        )
        return within | self._after(slot) if stated else within

    def choices(self, tokens: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return the (V,) tokens that keep to one emotion after ``tokens``; ``None`` for all."""
        slots = self._table.slots
        clause = list(takewhile(lambda token: slots[token] is Slot.EMOTION, tokens))
        if len(clause) < len(tokens):
            return None
        named = self._table.compatible(Slot.EMOTION, clause)
        likeliest = next((emotion for emotion in self._emotions if emotion in named), None)
        return None if likeliest is None else self._table.without_other_emotions(likeliest)

    def _planned(self, slot: Slot) -> tuple[str, ...]:
        """Return the value that a clause of ``slot`` shall state; none if that is not planned."""
        value = self._plan.values.get(slot)
        return () if value is None else (value,)

    def _after(self, slot: Slot) -> NDArray[np.bool_]:
        """Return the (V,) tokens of the planned clause after one of ``slot``, or the full stop."""
        for following in self._plan.slots:
            if _ORDER[following] > _ORDER[slot]:
                return self._within[following]
        return self._stop
