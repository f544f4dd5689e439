"""The course of each measure over a channel, smoothed."""

from __future__ import annotations

import numpy as np

from ugsd_sdk.timelines.comparisons import start_of
from ugsd_sdk.timelines.measures import Float64, Measure, Series
from ugsd_sdk.timelines.parts import ArcPoint

__all__ = ["arc_of"]

_MOST_POINTS = 240
_LEAST_STEP_S = 1.0
_LEAST_WIDTH_S = 6.0
_WIDTH_SHARE = 1 / 40
"""The smoothing has this share of the recording as its standard deviation, or 6 s."""
_REACH = 2.0
"""No point is farther from an utterance than this many standard deviations."""


def arc_of(series: Series, duration_s: float) -> tuple[ArcPoint, ...]:
    """Return the arc of a channel: at most 240 points.

    Each measure is the median of three consecutive utterances, so that a single one makes no bump,
    averaged with the weights of a normal distribution and of the speech in each. Effort, pitch and
    pace are given as differences from the speaker's own start, if there is one. Where nobody speaks
    for long there are no points.
    """
    if not len(series):
        return ()
    width_s = max(_LEAST_WIDTH_S, _WIDTH_SHARE * duration_s)
    step_s = max(_LEAST_STEP_S, duration_s / _MOST_POINTS)
    times_s = (np.arange(int(duration_s / step_s), dtype=np.float64) + 0.5) * step_s
    middles_s = (series.starts_s + series.ends_s) / 2
    smooth = {
        measure: _smoothed(times_s, middles_s, _relative(series, measure), series, width_s)
        for measure in series.values
    }
    gaps = np.maximum(series.starts_s - times_s[:, None], times_s[:, None] - series.ends_s)
    is_near = gaps.min(axis=1) <= _REACH * width_s
    return tuple(
        ArcPoint(
            at_s=float(at_s),
            **{measure.value: _known(values[index]) for measure, values in smooth.items()},
        )
        for index, at_s in enumerate(times_s)
        if is_near[index]
    )


def _relative(series: Series, measure: Measure) -> Float64:
    """Return the values of a measure, as differences from the start unless it has a zero of its
    own; NaN without a start."""
    values = series.values[measure]
    if measure in (Measure.AROUSAL, Measure.VALENCE):
        return values
    start = start_of(series)
    known = values[:0] if start is None else values[start][np.isfinite(values[start])]
    return values - np.median(known) if len(known) else np.full_like(values, np.nan)


def _smoothed(
    times_s: Float64, middles_s: Float64, values: Float64, series: Series, width_s: float
) -> Float64:
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(times_s), np.nan)
    at_s, speech_s, kept = middles_s[known], series.speech_s[known], values[known]
    padded = np.concatenate([kept[:1], kept, kept[-1:]])
    medians = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    weights = np.exp(-0.5 * ((times_s[:, None] - at_s) / width_s) ** 2) * speech_s
    sums = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        smooth = np.einsum("tn,n->t", weights, medians) / sums  # `@` starts threads
    return np.where(sums > 0, smooth, np.nan)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
