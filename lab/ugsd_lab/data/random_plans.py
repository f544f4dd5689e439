"""Plans of captions drawn at random, so that models learn to word every combination."""

from __future__ import annotations

import random

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import (
    MEASURED_SLOTS,
    NUM_OPENINGS,
    NUM_VARIANTS,
    WORDED_VALUES,
    CaptionPlan,
)
from ugsd_sdk.attributes.slots import Slot

__all__ = ["random_plan"]

_SHORT_VALUES = {
    Slot.LOUDNESS: ("quiet", "loud"),
    Slot.PACE: ("slow", "fast"),
    Slot.PITCH: ("low", "high"),
}
_MOST_CLAUSES = {CaptionLength.SHORT: 2, CaptionLength.NORMAL: 4, CaptionLength.RICH: 10}
_DOUBTFUL_SHARE = 0.2


def random_plan(
    rng: random.Random, *, length: CaptionLength | None = None, is_strong: bool = False
) -> CaptionPlan:
    """Return a plan of ``length``, by default of any. It words the strength, if ``is_strong``, or
    doubt."""
    length = length or rng.choice(list(CaptionLength))
    is_short = length is CaptionLength.SHORT
    choices = _SHORT_VALUES if is_short else {slot: WORDED_VALUES[slot] for slot in MEASURED_SLOTS}
    count = rng.randint(0, min(_MOST_CLAUSES[length], len(choices)))
    chosen = set(rng.sample(list(choices), count))
    is_doubtful = rng.random() < _DOUBTFUL_SHARE
    return CaptionPlan(
        length=length,
        values={slot: rng.choice(choices[slot]) for slot in MEASURED_SLOTS if slot in chosen},
        is_strong=is_strong and not is_doubtful,
        is_doubtful=is_doubtful,
        opening=rng.randrange(NUM_OPENINGS),
        variant=rng.randrange(NUM_VARIANTS),
    )
