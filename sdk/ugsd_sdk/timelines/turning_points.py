"""Where the way in which somebody speaks changes for good: change points of all measures together.

The rule: for each possible place with five utterances or more on both sides, the sum of the ranks
before it is compared with what the order of the utterances would give by chance, for each measure
(the cumulative sum of ranks, as in Pettitt 1979, https://doi.org/10.2307/2346729). The largest over
all places and measures is the statistic. It is compared with that of 999 orders at random: the
place is a turning point if at most 1 % of them reach it. Then the parts before and after it are
searched in the same way.

Ranks make single utterances harmless, however unusual. If nothing changes, all orders are equally
likely, and so at most 1 % of such channels have a turning point: what is drawn at random gives the
exact rate for any number of measures. It does not hold if moods last for several utterances, as
they do: a long mood is a change, and is found as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ugsd_sdk.attributes.relations import MIN_USUAL_CLIPS
from ugsd_sdk.timelines.comparisons import compared
from ugsd_sdk.timelines.measures import Float64, Series
from ugsd_sdk.timelines.parts import TurningPoint

__all__ = ["SIGNIFICANCE", "change_points", "find_turning_points"]

SIGNIFICANCE = 0.01
_ORDERS = 999
_MIN_PART = MIN_USUAL_CLIPS
_MAX_BATCH = 1 << 20
"""Values of a batch of orders, which bounds the memory."""
_SEED = 0


def find_turning_points(series: Series) -> tuple[TurningPoint, ...]:
    """Return the turning points of a channel, in order.

    A change that is significant is one only if it can be stated: the main emotion of the speech
    differs, or one of the relations of :func:`~ugsd_sdk.timelines.comparisons.compared` holds.
    """
    matrix = np.stack(list(series.values.values()), axis=1) if len(series) else np.zeros((0, 1))
    found = change_points(matrix)
    edges = [0, *(place for place, _ in found), len(series)]
    points = []
    for number, (place, p_value) in enumerate(found):
        before, after = slice(edges[number], place), slice(place, edges[number + 2])
        relations = compared(series, before, after)
        emotions = series.main_emotion(before), series.main_emotion(after)
        has_other = None not in emotions and emotions[0] != emotions[1]
        if relations or has_other:
            points.append(
                TurningPoint(
                    at_s=float(series.starts_s[place]),
                    utterance=series.positions[place],
                    p_value=p_value,
                    relations=relations,
                    emotion_before=emotions[0],
                    emotion_after=emotions[1],
                )
            )
    return tuple(points)


def change_points(values: Float64) -> list[tuple[int, float]]:
    """Return the first row after each change of ``values`` (n, measures), NaN where a measure is
    not known, with its p-value, in order."""
    rng = np.random.default_rng(_SEED)
    found: list[tuple[int, float]] = []
    parts = [(0, len(values))]
    while parts:
        start, end = parts.pop()
        place, p_value = _change(values[start:end], rng)
        if place is not None and p_value <= SIGNIFICANCE:
            found.append((start + place, p_value))
            parts += [(start, start + place), (start + place, end)]
    return sorted(found)


def _change(values: Float64, rng: np.random.Generator) -> tuple[int | None, float]:
    """Return the likeliest place of a change in ``values`` (n, measures), and its p-value."""
    count = len(values)
    if count < 2 * _MIN_PART:
        return None, 1.0
    scores = np.stack([_scores(column) for column in values.T], axis=1)
    places = np.arange(_MIN_PART, count - _MIN_PART + 1)
    scale = np.sqrt(places * (count - places) / count)
    own = _statistics(scores[None], places, scale)[0]
    best = int(own.argmax())
    reached, batch = 0, max(1, _MAX_BATCH // scores.size)
    for first in range(0, _ORDERS, batch):
        size = min(batch, _ORDERS - first)
        orders = rng.permuted(np.tile(np.arange(count), (size, 1)), axis=1)
        most = _statistics(scores[orders], places, scale).max(axis=1)
        reached += int(np.count_nonzero(most >= own[best] - 1e-9))
    return int(places[best]), (1 + reached) / (1 + _ORDERS)


def _statistics(scores: Float64, places: Sequence[int] | Float64, scale: Float64) -> Float64:
    """Return the statistic (orders, places) of ``scores`` (orders, n, measures)."""
    sums = np.abs(np.cumsum(scores, axis=1)[:, np.asarray(places) - 1])
    return np.asarray(sums.max(axis=2) / scale)


def _scores(column: Float64) -> Float64:
    """Return the ranks of ``column`` (n,) with mean 0 and variance 1, ties shared, and 0 where it
    is NaN."""
    known = np.isfinite(column)
    scores = np.zeros(len(column))
    if np.count_nonzero(known) < 2 * _MIN_PART:
        return scores
    _, inverse, counts = np.unique(column[known], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    spread = float(ranks.std())
    if spread:
        scores[known] = (ranks - ranks.mean()) / spread
    return scores
