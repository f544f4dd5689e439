"""Spectra of voiced frames: vocal effort and voice quality."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["WINDOW", "band_powers", "clarity_db", "power_spectra"]

Float32 = NDArray[np.float32]

WINDOW = 1024
"""64 ms at 16 kHz."""

_SAMPLE_RATE = 16_000
_FIRST_BIN = 2
"""Lower bins, below 31 Hz, are no voice."""
_SPLIT_BIN = round(1000 * WINDOW / _SAMPLE_RATE)
_QUEFRENCIES = (_SAMPLE_RATE // 400, _SAMPLE_RATE // 65)
"""Periods of 65 to 400 Hz, in samples."""


@cache
def _window() -> Float32:
    return np.hanning(WINDOW).astype(np.float32)


def power_spectra(frames: Float32) -> Float32:
    """Return the power spectra (n, 513) of frames (n, 1024) at 16 kHz."""
    spectra = np.fft.rfft((frames * _window()).astype(np.float64), axis=1)
    return (np.square(spectra.real) + np.square(spectra.imag)).astype(np.float32)


def band_powers(power: Float32) -> tuple[Float32, Float32]:
    """Return the power (n,) of each frame below 1 kHz, and above.

    Their ratio rises with vocal effort, whatever the level (Traunmüller and Eriksson 2000).
    """
    return power[:, _FIRST_BIN:_SPLIT_BIN].sum(axis=1), power[:, _SPLIT_BIN:].sum(axis=1)


def clarity_db(power: Float32) -> Float32:
    """Return the cepstral peak prominence (n,) of each frame in dB (Hillenbrand et al. 1994): how
    far the peak of the cepstrum rises above its trend. It is low for breathy voices."""
    log_power = np.float32(10) * np.log10(power + np.float32(1e-12))
    # By FFT and not as a product of matrices: see pitch_track.
    cepstrum = np.fft.irfft(log_power, n=WINDOW, axis=1)[:, slice(*_QUEFRENCIES)]
    region = np.float32(20) * np.log10(np.abs(cepstrum) + 1e-6).astype(np.float32)
    offsets = np.arange(region.shape[1], dtype=np.float32) - np.float32((region.shape[1] - 1) / 2)
    slope = (region * offsets).sum(axis=1) / np.float32(np.square(offsets).sum())
    peak = region.argmax(axis=1)
    trend = region.mean(axis=1) + slope * offsets[peak]
    return np.asarray(region.max(axis=1) - trend, np.float32)
