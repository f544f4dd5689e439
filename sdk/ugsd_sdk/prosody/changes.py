"""How speech changes from its first third to its last, and where its strongest stress lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.prosody.contours import HOP_S, Contours
from ugsd_sdk.prosody.percentiles import median
from ugsd_sdk.prosody.prosody import Changes, Emphasis

__all__ = ["effort_db", "find_emphasis", "mean_level_db", "measure_changes", "median_pitch_st"]

_MIN_CHANGE_S = 2.0
"""Shorter speech has no beginning and end to compare."""
_MIN_EMPHASIS_S = 1.5
_MIN_VOICED_FRAMES = 10
"""A part with less voice, a tenth of a second, has no pitch."""
_FINAL_FRAMES = 25
_MIN_FINAL_VOICED = 5
_SMOOTHING_FRAMES = 20
"""Stress is a matter of syllables: 200 ms."""
_DB_PER_SEMITONE = 0.3
"""What a higher pitch adds to the prominence of a louder level."""


def mean_level_db(level_db: NDArray[np.floating]) -> float:
    """Return the level of the mean power of frames (n,), n >= 1."""
    return float(10 * np.log10(np.mean(10 ** (level_db.astype(np.float64) / 10))))


def effort_db(contours: Contours, part: NDArray[np.intp]) -> float | None:
    """Return the power above 1 kHz over that below, in dB, in the voiced frames of ``part``."""
    low = float(np.nansum(contours.low_power[part], dtype=np.float64))
    high = float(np.nansum(contours.high_power[part], dtype=np.float64))
    return float(10 * np.log10(high / low)) if low > 0 and high > 0 else None


def median_pitch_st(
    pitch_st: NDArray[np.floating], least: int = _MIN_VOICED_FRAMES
) -> float | None:
    """Return the median pitch of frames (n,), ``None`` if fewer than ``least`` have one."""
    voiced = pitch_st[np.isfinite(pitch_st)]
    return median(voiced) if len(voiced) >= least else None


def measure_changes(
    contours: Contours, active: NDArray[np.intp], nuclei: NDArray[np.intp]
) -> Changes | None:
    """Compare the last third of the frames ``active`` (n,) of ``contours`` with the first, and
    their ends with the whole. ``nuclei`` are the frames of the syllables' nuclei. ``None`` for
    speech of less than 2 s."""
    if len(active) * HOP_S < _MIN_CHANGE_S:
        return None
    third = len(active) // 3
    first, last = active[:third], active[-third:]
    levels = [mean_level_db(contours.level_db[part]) for part in (first, last)]
    rates = [np.isin(nuclei, part).sum() / (third * HOP_S) for part in (first, last)]
    final = median_pitch_st(contours.pitch_st[active[-_FINAL_FRAMES:]], _MIN_FINAL_VOICED)
    return Changes(
        effort_db=_difference(effort_db(contours, first), effort_db(contours, last)),
        level_db=levels[1] - levels[0],
        pitch_st=_difference(
            median_pitch_st(contours.pitch_st[first]), median_pitch_st(contours.pitch_st[last])
        ),
        pace=float(rates[1] - rates[0]) if min(rates) > 0 else None,
        final_pitch_st=_difference(median_pitch_st(contours.pitch_st[active]), final),
    )


def find_emphasis(contours: Contours, active: NDArray[np.intp]) -> Emphasis | None:
    """Return the peak of the level, raised by a high pitch, smoothed over 200 ms. ``None`` for
    speech of less than 1.5 s."""
    if len(active) * HOP_S < _MIN_EMPHASIS_S:
        return None
    loudness = _smooth(10 ** (contours.level_db[active].astype(np.float64) / 10))
    pitch = contours.pitch_st[active].astype(np.float64)
    median = median_pitch_st(pitch)
    raised = np.zeros_like(pitch) if median is None else np.nan_to_num(pitch - median)
    prominence = 10 * np.log10(loudness + 1e-30) + _DB_PER_SEMITONE * _smooth(raised)
    times = contours.times_s[active]
    places = (times - times[0]) / (times[-1] - times[0])
    peak = int(prominence.argmax())
    thirds = np.minimum((places * 3).astype(int), 2)
    rest = prominence[thirds != thirds[peak]]
    return Emphasis(float(places[peak]), float(prominence[peak] - rest.max()))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(values, np.full(_SMOOTHING_FRAMES, 1 / _SMOOTHING_FRAMES), "same")


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first
