"""Where the way in which somebody speaks changes for good: change points of all measures together.

The rule: a stretch of five utterances or more is compared with the rest, by the sum of its ranks
and what the order of the utterances would give by chance, for each measure. This is circular binary
segmentation (Olshen et al. 2004, https://doi.org/10.1093/biostatistics/kxh008) on ranks. The
largest value over all stretches and measures is compared with that of 999 orders at random: the
ends of the stretch are change points if at most 1 % of them reach it. Then the parts between them
are searched in the same way.

Ranks make single utterances harmless, however unusual. The orders are as correlated as the channel
(:mod:`ugsd_sdk.timelines.random_orders`). If nothing changes and all utterances are independent, or
each depends on the one before alone, about 1 % of channels have a change point, however the
measures depend on each other. A mood that lasts longer than that is a change, and is found as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.relations import MIN_USUAL_CLIPS
from ugsd_sdk.timelines.comparisons import compared
from ugsd_sdk.timelines.measures import Float64, Series
from ugsd_sdk.timelines.parts import TurningPoint
from ugsd_sdk.timelines.random_orders import RandomOrders

__all__ = ["SIGNIFICANCE", "change_points", "find_turning_points"]

SIGNIFICANCE = 0.01
_ORDERS = 999
_MIN_PART = MIN_USUAL_CLIPS
_MAX_BATCH = 1 << 20
"""Values of a batch of orders, which bounds the memory."""
_BATCH_ORDERS = 50
"""After so many it is looked whether too many have reached the statistic already."""
_SEED = 0
_MOST_EDGES = 60
"""Stretches begin and end at one of so many places first, then at the best place near it."""

_Places = NDArray[np.int64]


def find_turning_points(series: Series) -> tuple[TurningPoint, ...]:
    """Return the turning points of a channel, in order.

    A change that is significant is one only if it can be stated: the main emotion of the speech
    differs, or one of the relations of :func:`~ugsd_sdk.timelines.comparisons.compared` holds.
    Those that cannot are dropped one by one, the least significant first, and the parts on both
    sides become one.
    """
    matrix = np.stack(list(series.values.values()), axis=1) if len(series) else np.zeros((0, 1))
    found = change_points(matrix)
    while True:
        points = _described(series, found)
        unclear = [one for one, point in zip(found, points, strict=True) if not point.is_stated]
        if not unclear:
            return points
        found.remove(max(unclear, key=lambda one: one[1]))


def _described(series: Series, found: Sequence[tuple[int, float]]) -> tuple[TurningPoint, ...]:
    """Return what changes at each change point, from the one before it to the one after it."""
    edges = [0, *(place for place, _ in found), len(series)]
    points = []
    for number, (place, p_value) in enumerate(found):
        before, after = slice(edges[number], place), slice(place, edges[number + 2])
        points.append(
            TurningPoint(
                at_s=float(series.starts_s[place]),
                utterance=series.positions[place],
                p_value=p_value,
                relations=compared(series, before, after),
                emotion_before=series.main_emotion(before),
                emotion_after=series.main_emotion(after),
            )
        )
    return tuple(points)


def change_points(values: Float64) -> list[tuple[int, float]]:
    """Return the first row after each change of ``values`` (n, measures), NaN where a measure is
    not known, with its p-value, in order."""
    rng = np.random.default_rng(_SEED)
    found: dict[int, float] = {}
    parts = [(0, len(values))]
    while parts:
        start, end = parts.pop()
        places, p_value = _changes(values[start:end], rng)
        if places and p_value <= SIGNIFICANCE:
            found |= dict.fromkeys((start + place for place in places), p_value)
            edges = [start, *(start + place for place in places), end]
            parts += pairwise(edges)
    return sorted(found.items())


def _changes(values: Float64, rng: np.random.Generator) -> tuple[list[int], float]:
    """Return the ends of the stretch of ``values`` (n, measures) that differs most from the rest,
    and its p-value."""
    count = len(values)
    if count < 2 * _MIN_PART:
        return [], 1.0
    scores = np.stack([_scores(column) for column in values.T], axis=1)
    edges = np.unique(np.linspace(0, count, min(count, _MOST_EDGES) + 1).round().astype(np.int64))
    pairs = _Stretches(edges[:, None], edges[None, :], count)
    orders = RandomOrders(scores, rng)
    sums = _sums(scores[None])
    own = pairs.statistics(sums)[0]
    most = float(own.max())
    best = np.unravel_index(int(own.argmax()), own.shape)
    batch = max(1, min(_BATCH_ORDERS, _MAX_BATCH // max(scores.size, own.size * scores.shape[1])))
    reached = 0
    for first in range(0, _ORDERS, batch):
        shuffled = _sums(orders.draw(min(batch, _ORDERS - first)))
        reached += int(np.count_nonzero(pairs.statistics(shuffled).max(axis=(1, 2)) >= most - 1e-9))
        if 1 + reached > SIGNIFICANCE * (1 + _ORDERS):
            return [], 1.0
    start, end = (int(edges[index]) for index in best)
    step = int(np.diff(edges).max())
    start = _refined(start, step, count, lambda at: _Stretches(at, np.array([end]), count), sums)
    end = _refined(end, step, count, lambda at: _Stretches(np.array([start]), at, count), sums)
    return [place for place in (start, end) if 0 < place < count], (1 + reached) / (1 + _ORDERS)


class _Stretches:
    """Stretches of utterances from ``starts`` to ``ends``, which are broadcast."""

    def __init__(self, starts: _Places, ends: _Places, count: int) -> None:
        self._starts, self._ends = np.broadcast_arrays(starts, ends)
        length = self._ends - self._starts
        rests = (self._starts, count - self._ends)
        self._is_allowed = (length >= _MIN_PART) & (length <= count - _MIN_PART)
        for rest in rests:
            self._is_allowed &= (rest == 0) | (rest >= _MIN_PART)
        self._scale = np.sqrt(np.where(self._is_allowed, length * (count - length) / count, 1))

    def statistics(self, sums: Float64) -> Float64:
        """Return the statistic (orders, *stretches) for ``sums`` (orders, n + 1, measures)."""
        found = np.abs(sums[:, self._ends] - sums[:, self._starts]).max(axis=-1) / self._scale
        return np.where(self._is_allowed, found, 0.0)


def _refined(
    place: int, step: int, count: int, around: Callable[[_Places], _Stretches], sums: Float64
) -> int:
    """Return the best place near one of the coarse edges; the ends of all stay where they are."""
    if place in (0, count) or step == 1:
        return place
    places = np.arange(max(place - step, _MIN_PART), min(place + step, count - _MIN_PART) + 1)
    return int(places[int(around(places).statistics(sums)[0].argmax())])


def _sums(scores: Float64) -> Float64:
    """Return the cumulative sums (orders, n + 1, measures) of ``scores`` (orders, n, measures)."""
    return np.pad(np.cumsum(scores, axis=1), ((0, 0), (1, 0), (0, 0)))


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
