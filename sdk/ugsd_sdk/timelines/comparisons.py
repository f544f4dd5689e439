"""How one part of a channel differs from an earlier one, in the words that captions use.

A difference is that of two medians, so that single utterances decide nothing, with the error of
both. It is stated if the true one is as large as a listener notices with a probability of at least
0.9 (:class:`~ugsd_sdk.attributes.relations.Difference`).
"""

from __future__ import annotations

import math

import numpy as np

from ugsd_sdk.attributes.attribute import SAID_ABOVE
from ugsd_sdk.attributes.relations import MIN_USUAL_CLIPS, Difference
from ugsd_sdk.timelines.measures import (
    DELIVERY,
    Float64,
    Measure,
    Series,
    clip_error,
    noticeable,
)
from ugsd_sdk.timelines.parts import Relation

__all__ = ["START_SHARE", "compared", "from_start", "start_of"]

START_SHARE = 0.2
"""The first fifth of a speaker's utterances is the start, and the last fifth the end."""
_MOST_START = 20
_NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean."""
_WORDS = {
    Measure.AROUSAL: ("more_agitated", "calmer"),
    Measure.PITCH: ("higher", "lower"),
    Measure.PACE: ("faster", "slower"),
    Measure.EFFORT: ("louder", "quieter"),
}


def start_of(series: Series) -> slice | None:
    """Return the utterances that are the start: a fifth, from 5 to 20; ``None`` if there are not
    twice as many."""
    count = min(max(MIN_USUAL_CLIPS, int(START_SHARE * len(series))), _MOST_START)
    return slice(0, count) if len(series) >= 2 * count else None


def from_start(series: Series) -> tuple[Relation, ...]:
    """Return how the end differs from the start; nothing for few utterances."""
    start = start_of(series)
    if start is None:
        return ()
    return compared(series, start, slice(len(series) - start.stop, len(series)))


def compared(series: Series, before: slice, after: slice) -> tuple[Relation, ...]:
    """Return how the utterances ``after`` differ from those ``before``.

    As between two utterances, "more_agitated" and "calmer" need pitch, pace or effort that moves
    the same way by a noticeable amount, and none that moves the other way.
    """
    found = {
        measure: difference
        for measure in _WORDS
        if measure in series.values
        and (difference := _difference(series.values[measure], measure, before, after)) is not None
    }
    moved = [found[one] for one in DELIVERY if one in found and found[one].p_direction > 0.5]
    relations = []
    for measure, difference in found.items():
        if difference.p_direction < SAID_ABOVE:
            continue
        if measure is Measure.AROUSAL and not (
            moved and all((one.value > 0) == (difference.value > 0) for one in moved)
        ):
            continue
        relations.append(
            Relation(
                value=difference.direction,
                confidence=difference.p_direction,
                measure=measure,
                difference=difference.value,
            )
        )
    return tuple(relations)


def _difference(
    values: Float64, measure: Measure, before: slice, after: slice
) -> Difference | None:
    earlier, later = (values[part][np.isfinite(values[part])] for part in (before, after))
    if min(len(earlier), len(later)) < MIN_USUAL_CLIPS:
        return None
    middle = float(np.median(earlier))
    more, less = _WORDS[measure]
    return Difference(
        more,
        less,
        value=float(np.median(later)) - middle,
        error=math.hypot(_error(earlier, measure), _error(later, measure)),
        limit=noticeable(measure, middle),
    )


def _error(values: Float64, measure: Measure) -> float:
    """Return the standard error of the median of ``values`` (n,)."""
    deviation = float(np.median(np.abs(values - np.median(values))))
    spread = max(_NORMAL_MAD * deviation, clip_error(measure))
    return _MEDIAN_ERROR * spread / math.sqrt(len(values))
