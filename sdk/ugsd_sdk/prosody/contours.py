"""Level, pitch and spectra of speech over time, in frames of 10 ms.

The frames of each span of speech begin with the span, and what lies outside the spans counts as
silence, so that it changes nothing how long a recording goes on before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import checked
from ugsd_sdk.prosody import pitch_track, voice_spectra
from ugsd_sdk.prosody.percentiles import percentile
from ugsd_sdk.prosody.pitch_track import CHUNK, track_pitch
from ugsd_sdk.prosody.voice_spectra import band_powers, clarity_db, power_spectra

__all__ = ["HOP_S", "SAMPLE_RATE", "Contours", "measure_contours"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SAMPLE_RATE = 16_000
HOP_S = 0.01

_HOP = 160
_LEVEL_WINDOW = 512
"""Levels are those of 32 ms."""
_PADDING = 512
"""Silence before and after a piece, so that a window around each frame fits."""
_LOUD_PERCENTILE = 95
_VOWEL_HZ = (300, 2500)
_SPECTRUM_EVERY = 3
"""Spectra are measured in every third voiced frame; they overlap by half."""
_SILENCE = 1e-12


@dataclass(frozen=True)
class Contours:
    """The frames (n,) of the speech in one recording, or a piece of it, in order."""

    times_s: Float64
    """Middle of each frame in the recording."""
    begins: NDArray[np.bool_]
    """True for the first frame of a span of speech."""
    level_db: Float32
    """Level relative to full scale."""
    vowel_db: Float32
    """Level from 300 to 2500 Hz, relative to any constant: where vowels are strong."""
    pitch_st: Float32
    """Pitch in semitones above 100 Hz; NaN where the voice has none."""
    low_power: Float32
    """Power below 1 kHz; NaN in frames without a spectrum, as in the next two."""
    high_power: Float32
    """Power above 1 kHz."""
    clarity_db: Float32
    """Cepstral peak prominence."""

    def __len__(self) -> int:
        return len(self.times_s)

    @classmethod
    def joined(cls, parts: Sequence[Contours]) -> Contours:
        """Return the frames of consecutive pieces of a recording as one; there is at least one
        piece."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def measure_contours(
    piece: Float32, spans: Sequence[tuple[int, int]], start: int = 0
) -> Contours | None:
    """Measure the speech in ``piece``, mono (n,) at 16 kHz, whose first sample is sample ``start``
    of the recording. ``spans`` are its spans of speech; ``None`` if they are silent."""
    speech = np.zeros(len(piece) + 2 * _PADDING, np.float32)
    for begin, end in spans:
        speech[_PADDING + begin : _PADDING + end] = piece[begin:end]
    peak = float(np.abs(speech).max(initial=0))
    if not 0 < peak < np.inf:
        return None
    speech /= np.float32(peak)
    grids = [np.arange(begin + _HOP // 2, end, _HOP) for begin, end in spans]
    centres = np.concatenate(grids)
    if not len(centres):
        return None
    begins = np.zeros(len(centres), np.bool_)
    begins[np.cumsum([0, *map(len, grids)])[:-1][[len(grid) > 0 for grid in grids]]] = True

    power = _mean_power(speech, centres + _PADDING)
    loud = percentile(power, _LOUD_PERCENTILE)
    amplitudes = np.sqrt(power / loud) if loud else np.zeros(len(power))
    pitch, spectra = track_pitch(_pitch_frames(speech, centres), amplitudes, begins)
    low, high = (round(hz * (spectra.shape[1] - 1) * 2 / pitch_track.RATE) for hz in _VOWEL_HZ)
    vowels = spectra[:, low:high].sum(axis=1)

    rows = np.flatnonzero(np.isfinite(pitch))[::_SPECTRUM_EVERY]
    windows = np.lib.stride_tricks.sliding_window_view(speech, voice_spectra.WINDOW)
    at = centres[rows] + _PADDING - voice_spectra.WINDOW // 2
    chunks = (power_spectra(windows[at[i : i + CHUNK]]) for i in checked(range(0, len(at), CHUNK)))
    nothing = np.zeros(0, np.float32)
    heard = [(*band_powers(chunk), clarity_db(chunk)) for chunk in chunks]
    below, above, clarity = (
        np.concatenate(some) for some in zip((nothing,) * 3, *heard, strict=True)
    )
    scale = np.float32(peak) ** 2
    return Contours(
        times_s=(start + centres) / SAMPLE_RATE,
        begins=begins,
        level_db=_decibels(power, peak),
        vowel_db=_decibels(vowels, peak),
        pitch_st=pitch.astype(np.float32),
        low_power=_spread(below * scale, rows, len(centres)),
        high_power=_spread(above * scale, rows, len(centres)),
        clarity_db=_spread(clarity, rows, len(centres)),
    )


@cache
def _half_band() -> Float32:
    """Return the even number of outer taps of a half-band low-pass filter, whose middle tap is 1
    and whose other taps are zero."""
    odd = np.arange(-7, 8, 2)
    taps = np.sinc(odd / 2) * (0.54 + 0.46 * np.cos(np.pi * odd / 8))
    return np.asarray(taps / taps.sum(), np.float32)


def _mean_power(speech: Float32, centres: NDArray[np.int64]) -> Float64:
    """Return the mean square (n,) of the 32 ms around each of ``centres`` (n,)."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(speech), dtype=np.float64)])
    half = _LEVEL_WINDOW // 2
    means = (sums[centres + half] - sums[centres - half]) / _LEVEL_WINDOW
    return np.asarray(np.maximum(means, 0))


def _pitch_frames(speech: Float32, centres: NDArray[np.int64]) -> Float32:
    """Return the frames (n, 384) around ``centres`` (n,), at 8 kHz."""
    odd = np.convolve(speech[1::2], _half_band(), "same")
    halved = speech[::2].copy()
    halved[1:] += odd[: len(halved) - 1]
    windows = np.lib.stride_tricks.sliding_window_view(halved, pitch_track.WINDOW)
    return windows[(centres + _PADDING - pitch_track.WINDOW) // 2]


def _decibels(power: NDArray[np.floating], peak: float) -> Float32:
    decibels = 10 * np.log10(power + _SILENCE) + 20 * np.log10(peak)
    return np.asarray(decibels, np.float32)


def _spread(values: Float32, rows: NDArray[np.intp], num_frames: int) -> Float32:
    spread = np.full(num_frames, np.nan, np.float32)
    spread[rows] = values
    return spread
