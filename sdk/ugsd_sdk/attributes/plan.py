"""The plan of a caption: which attributes it words, how fully, and in which of many wordings.

The device makes the plan before a word is drafted. The drafter's decoder is conditioned on it, so
that what is left to the decoder is the emotion and the words.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.attribute import SAID_ABOVE, Attribute
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot

__all__ = [
    "MEASURED_SLOTS",
    "NUM_OPENINGS",
    "NUM_VARIANTS",
    "PLAN_DIM",
    "UNGRADED",
    "WORDED_VALUES",
    "CaptionPlan",
    "caption_plan",
    "plan_for",
]

MEASURED_SLOTS = tuple(slot for slot in Slot if slot is not Slot.EMOTION)
"""The slots that the device decides alone."""
UNGRADED = ("neutral", "calm")
"""Emotions that have no degrees."""
NUM_OPENINGS, NUM_VARIANTS = 10, 6
"""Ways in which a caption may begin, and wordings of each clause."""
_UNWORDED = {
    Slot.QUALITY: {"modal"},
    Slot.PREVIOUS: {"same"},
}
"""Values that no caption mentions."""
WORDED_VALUES: Mapping[Slot, tuple[str, ...]] = MappingProxyType(
    {slot: tuple(v for v in SLOT_VALUES[slot] if v not in _UNWORDED.get(slot, ())) for slot in Slot}
)
"""The values that a clause may state."""
_ORDINARY = {
    Slot.LOUDNESS: "moderate",
    Slot.PACE: "moderate",
    Slot.PITCH: "medium",
    Slot.VARIATION: "moderate",
    Slot.PAUSES: "none",
    Slot.CHANGE: "steady",
    Slot.PROFILE: "usual",
}
"""Values that only a rich caption mentions, or one that has little else to say."""

_BRIEF_OPENINGS = (0, 1, 2, 3, 8, 9)
"""Openings of few words, with an adjective. The others are too long for a short caption of a strong
or doubtful feeling."""
_UNPROVEN = (Slot.PACE, Slot.VARIATION)
"""Slots that are not worded: so few clips of the development speakers had a certain value that it
is not known how often it is right (``ugsd-lab claims``). The attributes have them."""
_SHORT_SLOTS, _SHORT_CLAUSES = (Slot.LOUDNESS, Slot.PACE, Slot.PITCH), 2
_NORMAL_GROUPS: Sequence[tuple[Sequence[Slot], int]] = (
    ((Slot.LOUDNESS, Slot.PACE), 2),
    ((Slot.PITCH, Slot.VARIATION, Slot.QUALITY), 2),
    ((Slot.CHANGE, Slot.PAUSES), 1),
    ((Slot.PREVIOUS, Slot.PROFILE), 1),
)
"""Slots of a normal caption, the most telling of each group first, and how many it words."""
_NORMAL_CLAUSES = 4
_FEW_CLAUSES = 2
"""With no more than that, a normal caption also says where the stress lies; with fewer, what is
ordinary."""
_DOUBTFUL_BELOW = 0.45
"""An emotion that is less likely than that is worded as doubtful."""
_CERTAIN_ABOVE = 0.8
"""A strength that is less likely than that is not worded."""
PLAN_DIM = (
    sum(len(WORDED_VALUES[slot]) for slot in MEASURED_SLOTS)
    + 2 + NUM_OPENINGS + NUM_VARIANTS + len(CaptionLength)
)  # fmt: skip


@dataclass(frozen=True)
class CaptionPlan:
    """What a caption words besides the emotion, which the decoder chooses."""

    length: CaptionLength
    values: Mapping[Slot, str]
    """The value of each measured slot that is worded, in the order of the slots."""
    is_strong: bool = False
    """Whether the emotion is worded as a strong one."""
    is_doubtful: bool = False
    """Whether the emotion is worded as a guess."""
    opening: int = 0
    """From 0 to ``NUM_OPENINGS`` - 1."""
    variant: int = 0
    """From 0 to ``NUM_VARIANTS`` - 1."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of the caption's clauses, in order."""
        return (Slot.EMOTION, *self.values)

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """The plan as the decoder reads it, (PLAN_DIM,) of 0 and 1."""
        flags: list[bool] = []
        for slot in MEASURED_SLOTS:
            flags += [self.values.get(slot) == value for value in WORDED_VALUES[slot]]
        flags += [self.is_strong, self.is_doubtful]
        flags += [self.opening == number for number in range(NUM_OPENINGS)]
        flags += [self.variant == number for number in range(NUM_VARIANTS)]
        flags += [self.length is one for one in CaptionLength]
        return np.array(flags, dtype=np.float32)


def caption_plan(
    attributes: Mapping[Slot, Attribute],
    intensity: Attribute,
    length: CaptionLength,
    drawn_from: str,
) -> CaptionPlan:
    """Return the plan for a voice with ``attributes``.

    A measured attribute is worded if it is certain enough. The wording is drawn from the text
    ``drawn_from``. It must not depend on what was measured: the wording of the first clause may be
    sent, and nothing else of the plan.
    """
    certain: dict[Slot, str] = {
        slot: one.value
        for slot, one in attributes.items()
        if slot is not Slot.EMOTION
        and slot not in _UNPROVEN
        and one.value in WORDED_VALUES[slot]
        and (one.confidence or 0) >= SAID_ABOVE
        and one.value is not None
    }
    chosen = _chosen(certain, attributes, length)
    values: dict[Slot, str] = {slot: certain[slot] for slot in MEASURED_SLOTS if slot in chosen}
    emotion = attributes[Slot.EMOTION]
    is_doubtful = (emotion.confidence or 0) < _DOUBTFUL_BELOW
    is_strong = (
        intensity.value == "strong"
        and (intensity.confidence or 0) >= _CERTAIN_ABOVE
        and not is_doubtful
    )
    openings: Sequence[int] = range(NUM_OPENINGS)
    if length is CaptionLength.SHORT and (is_strong or is_doubtful):
        openings = _BRIEF_OPENINGS
    rng = random.Random(drawn_from)  # noqa: S311  # reproducible, not a secret
    return CaptionPlan(
        length=length,
        values=MappingProxyType(values),
        is_strong=is_strong,
        is_doubtful=is_doubtful,
        opening=rng.choice(openings),
        variant=rng.randrange(NUM_VARIANTS),
    )


def plan_for(plan: CaptionPlan, emotion: str) -> CaptionPlan:
    """Return ``plan`` for a caption that is given its ``emotion``: it does not doubt it, and it
    words no strength of an emotion that has none."""
    return replace(plan, is_doubtful=False, is_strong=plan.is_strong and emotion not in UNGRADED)


def _chosen(
    certain: Mapping[Slot, str], attributes: Mapping[Slot, Attribute], length: CaptionLength
) -> set[Slot]:
    if length is CaptionLength.RICH:
        return set(certain)
    telling = [slot for slot, value in certain.items() if _ORDINARY.get(slot) != value]
    if length is CaptionLength.SHORT:
        telling = [slot for slot in telling if slot in _SHORT_SLOTS]
        telling.sort(key=lambda slot: -(attributes[slot].confidence or 0))
        return set(telling[:_SHORT_CLAUSES])
    chosen: list[Slot] = []
    for slots, most in reversed(_NORMAL_GROUPS):
        chosen += [slot for slot in slots if slot in telling][:most]
    chosen = chosen[:_NORMAL_CLAUSES]
    if len(chosen) <= _FEW_CLAUSES and Slot.EMPHASIS in telling:
        chosen.append(Slot.EMPHASIS)
    for slots, most in _NORMAL_GROUPS[:2]:  # little is remarkable: say what is ordinary
        has = sum(slot in chosen for slot in slots)
        if len(chosen) < _FEW_CLAUSES and has < most:
            chosen += [slot for slot in slots if slot in certain and slot not in chosen][:1]
    return set(chosen)
