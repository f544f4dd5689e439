"""Syllables counted by their nuclei: peaks of the level of vowels, with dips between them.

After de Jong and Wempe (2009), "Praat script to detect syllable nuclei and measure speech rate
automatically": a nucleus is a voiced peak of the level that is parted from the next one by a dip of
2.5 dB between both, which fits best to the syllables of training speakers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.prosody.percentiles import percentile

__all__ = ["find_nuclei"]

_MIN_DIP_DB = 2.5
_MAX_BELOW_LOUD_DB = 25.0
"""Lower peaks are no vowels."""
_LOUD_PERCENTILE = 95
_SMOOTHING = np.array([1, 2, 3, 2, 1]) / 9
_VOICED_WITHIN = 2
"""A peak is voiced if one of so many frames on each side is."""


def find_nuclei(vowel_db: NDArray[np.floating], is_voiced: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the frames of the nuclei in consecutive frames (n,) of 10 ms, n >= 1."""
    margin = len(_SMOOTHING) // 2
    smooth = np.convolve(np.pad(vowel_db, margin, "edge"), _SMOOTHING, "valid")
    wide = np.convolve(is_voiced, np.ones(2 * _VOICED_WITHIN + 1), "full")
    near_voice = wide[_VOICED_WITHIN : _VOICED_WITHIN + len(is_voiced)] > 0
    padded = np.pad(smooth, 1, constant_values=-np.inf)
    peaks = np.flatnonzero((smooth > padded[:-2]) & (smooth >= padded[2:]))
    least = percentile(smooth, _LOUD_PERCENTILE) - _MAX_BELOW_LOUD_DB
    kept: list[int] = []
    for peak in peaks[near_voice[peaks] & (smooth[peaks] >= least)].tolist():
        while kept:
            dip = smooth[kept[-1] : peak + 1].min()
            if min(smooth[kept[-1]], smooth[peak]) - dip >= _MIN_DIP_DB:
                kept.append(peak)
                break
            if smooth[kept[-1]] >= smooth[peak]:
                break
            kept.pop()
        else:
            kept.append(peak)
    return np.array(kept, np.intp)
