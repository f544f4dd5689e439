"""Pauses: gaps between spans of speech, and quiet stretches within them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.prosody.contours import HOP_S, Contours
from ugsd_sdk.prosody.percentiles import percentile
from ugsd_sdk.prosody.prosody import Pause

__all__ = [
    "MIN_PAUSE_S",
    "find_pauses",
    "find_quiet",
    "loud_level_db",
    "quietest_db",
    "unvoiced_floor_db",
]

MIN_PAUSE_S = 0.25
"""Shorter ones are closures of consonants, and are not heard as pauses."""

_MIN_QUIET_FRAMES = 15
"""Shorter quiet stretches are speech."""
_SILENCE_DB = 30.0
"""In a clean recording, what lies so far below loud speech is silence."""
_ABOVE_NOISE_DB = 3.0
"""In a noisy one, noise is what stays so close to its floor."""
_LEAST_RANGE_DB = 10.0
"""Speech must rise so far above that, or no quiet is found in it."""
_FLOOR_FRAMES = 10
_LOUD_PERCENTILE = 95


def loud_level_db(contours: Contours) -> float:
    """Return the level of loud frames, which five of a hundred exceed."""
    return percentile(contours.level_db, _LOUD_PERCENTILE)


def quietest_db(contours: Contours) -> float:
    """Return the level of the quietest tenth of a second within the spans of speech."""
    count = min(_FLOOR_FRAMES, len(contours))
    means = np.convolve(contours.level_db, np.full(count, 1 / count), "valid")
    return float(means.min())


def unvoiced_floor_db(contours: Contours) -> float | None:
    """Return the level that nine of ten frames without a pitch exceed, ``None`` if there are too
    few: noise is never louder than the quietest of them."""
    levels = contours.level_db[np.isnan(contours.pitch_st)]
    return percentile(levels, 10) if len(levels) >= _FLOOR_FRAMES else None


def find_quiet(contours: Contours, noise_db: float | None = None) -> NDArray[np.bool_]:
    """Return which frames (n,) belong to quiet stretches of 0.15 s or longer.

    ``noise_db`` is the level outside the speech, if there was any sound. Neither hides steady noise
    a pause nor makes one: quiet is what lies 30 dB below loud speech, or stays within 3 dB of the
    noise floor without a pitch, provided that loud speech is at least 10 dB above that.
    """
    level, loud = contours.level_db, loud_level_db(contours)
    quiet = level < loud - _SILENCE_DB
    floor = quietest_db(contours) if noise_db is None else min(quietest_db(contours), noise_db)
    if floor + _ABOVE_NOISE_DB <= loud - _LEAST_RANGE_DB:
        quiet |= (level < floor + _ABOVE_NOISE_DB) & np.isnan(contours.pitch_st)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    for start, end in edges.reshape(-1, 2):
        if end - start < _MIN_QUIET_FRAMES:
            quiet[start:end] = False
    return quiet


def find_pauses(active_s: NDArray[np.float64]) -> tuple[Pause, ...]:
    """Return the pauses between the frames of speech, whose middles are ``active_s`` (n,)."""
    gaps = np.diff(active_s) - HOP_S
    return tuple(
        Pause(float(active_s[i] + HOP_S / 2), float(active_s[i + 1] - HOP_S / 2))
        for i in np.flatnonzero(gaps >= MIN_PAUSE_S - 1e-6)
    )
