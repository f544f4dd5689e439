"""Pitch of speech: peaks of the normalised autocorrelation, and the best path through them.

After Boersma (1993), "Accurate short-term analysis of the fundamental frequency": the
autocorrelation of a windowed frame is divided by that of the window, a frame may also be unvoiced,
and a dynamic programme weighs strong candidates against leaps. The costs are those of Praat's
``To Pitch (ac)``, made stricter against leaps of an octave and voiced noise, on training speakers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import checked

__all__ = ["CHUNK", "F0_RANGE_HZ", "RATE", "REFERENCE_HZ", "WINDOW", "track_pitch"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

F0_RANGE_HZ = (65.0, 600.0)
REFERENCE_HZ = 100.0
"""Zero semitones."""
CHUNK = 128
"""Frames whose spectra are in memory at once: 1.3 s."""
RATE = 8_000
"""Pitch is tracked at half the rate of the samples."""
WINDOW = 384
"""Three periods of the lowest pitch: 48 ms."""

_FFT = 512
_LAGS = (int(RATE / F0_RANGE_HZ[1]), int(RATE / F0_RANGE_HZ[0]) + 1)
_CANDIDATES = 5
_OCTAVE_COST = 0.02
_OCTAVE_JUMP_COST = 0.7
_VOICING_COST = 0.14
_VOICING_THRESHOLD = 0.55
_SILENCE_THRESHOLD = 0.03
_MISSING = -1e3
_MIN_RUN = 4
"""Voiced runs of fewer frames, 40 ms, are chance."""


@cache
def _window() -> Float32:
    return np.hanning(WINDOW + 2)[1:-1].astype(np.float32)


@cache
def _over_window() -> Float32:
    """Return what the autocorrelation (lags,) of a frame is multiplied by, to be that over the
    window's own."""
    power = np.abs(np.fft.rfft(_window(), 2 * WINDOW)) ** 2
    window_correlation = np.fft.irfft(power)[: _LAGS[1] + 1]
    return np.asarray(window_correlation[0] / window_correlation, np.float32)


def track_pitch(
    frames: Float32, amplitudes: Float64, begins: NDArray[np.bool_]
) -> tuple[Float64, Float32]:
    """Return the pitch (n,) in semitones above 100 Hz, NaN where a frame is unvoiced, and the
    frames' power spectra (n, 257).

    ``frames`` (n, 384) are at 8 kHz, and ``amplitudes`` (n,) relative to those of loud frames.
    Where ``begins`` (n,) is true, the frame does not continue the one before it.
    """
    if not len(frames):
        return np.zeros(0), np.zeros((0, _FFT // 2 + 1), np.float32)
    parts = [_heard(frames[i : i + CHUNK]) for i in checked(range(0, len(frames), CHUNK))]
    power, lags, strengths = (np.concatenate(some) for some in zip(*parts, strict=True))
    with np.errstate(divide="ignore"):
        octaves = np.log2(RATE / lags / REFERENCE_HZ)  # (n, candidates)
    silence = 2 - amplitudes / (_SILENCE_THRESHOLD / (1 + _VOICING_THRESHOLD))
    unvoiced = _VOICING_THRESHOLD + np.maximum(0, silence)
    path = _best_path(octaves, strengths, unvoiced, begins)
    pitch = np.full(len(frames), np.nan)
    voiced = _without_short_runs(path > 0, begins)
    pitch[voiced] = 12 * octaves[voiced, path[voiced] - 1]
    return pitch, power


def _heard(frames: Float32) -> tuple[Float32, Float64, Float64]:
    """Return the power spectra (n, 257) of frames (n, 384), and the lags and strengths of
    :func:`_candidates`."""
    centred = (frames - frames.mean(axis=1, keepdims=True)) * _window()
    spectra = np.fft.rfft(centred.astype(np.float64), _FFT, axis=1)  # twice as fast as of float32
    power = (np.square(spectra.real) + np.square(spectra.imag)).astype(np.float32)
    # By inverse FFT. A product of matrices starts threads of its library, for which a process that
    # forks meanwhile waits for ever, and any other while all cores are busy.
    lagged = np.fft.irfft(power, _FFT, axis=1)[:, : _LAGS[1] + 1]
    correlation = lagged.astype(np.float32) * _over_window()
    correlation /= np.maximum(correlation[:, :1], np.float32(1e-30))
    return power, *_candidates(correlation)


def _candidates(correlation: Float32) -> tuple[Float64, Float64]:
    """Return the lags (n, 5) and the strengths (n, 5) of the highest peaks, with parabolic
    interpolation. A missing one has a strength that never wins."""
    first = _LAGS[0]
    inner = correlation[:, first:-1]
    is_peak = (inner > correlation[:, first - 1 : -2]) & (inner >= correlation[:, first + 1 :])
    heights = np.where(is_peak, inner, np.float32(-1))
    weighted = heights - np.float32(_OCTAVE_COST) * np.log2(
        np.arange(first, _LAGS[1], dtype=np.float32) * np.float32(F0_RANGE_HZ[0] / RATE)
    )
    rows = np.arange(len(correlation))
    lags = np.empty((len(correlation), _CANDIDATES))
    strengths = np.empty_like(lags)
    for column in range(_CANDIDATES):
        best = weighted.argmax(axis=1)
        found = heights[rows, best] > 0
        weighted[rows, best] = -2
        before, at, after = (correlation[rows, first + best + k].astype(float) for k in (-1, 0, 1))
        curve = np.where(found, before - 2 * at + after, -1)
        shift = np.clip(0.5 * (before - after) / np.where(curve < 0, curve, -1), -0.5, 0.5)
        lag = first + best + shift
        height = np.minimum(at - 0.25 * (before - after) * shift, 1)
        octaves_up = -np.log2(lag * (F0_RANGE_HZ[0] / RATE))
        lags[:, column] = np.where(found, lag, first)
        strengths[:, column] = np.where(found, height + _OCTAVE_COST * octaves_up, _MISSING)
    return lags, strengths


def _best_path(
    octaves: Float64, strengths: Float64, unvoiced: Float64, begins: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the state (n,) of each frame: 0 is unvoiced, k is candidate k - 1."""
    num_frames = len(octaves)
    local = np.concatenate([unvoiced[:, None], strengths], axis=1)
    moves = np.full((num_frames - 1, local.shape[1], local.shape[1]), -_VOICING_COST)
    moves[:, 0, 0] = 0
    moves[:, 1:, 1:] = -_OCTAVE_JUMP_COST * np.abs(octaves[1:, None, :] - octaves[:-1, :, None])
    moves[begins[1:]] = 0
    moves += local[1:, None, :]
    scores = np.empty((num_frames, local.shape[1]))
    scores[0] = local[0]
    for move, before, after in zip(moves, scores[:-1, :, None], scores[1:], strict=True):
        np.maximum.reduce(np.add(move, before, out=move), axis=0, out=after)
    sources = moves.argmax(axis=1).tolist()
    state = int(scores[-1].argmax())
    path = [state]
    for source in reversed(sources):
        state = source[state]
        path.append(state)
    return np.array(path[::-1], np.intp)


def _without_short_runs(voiced: NDArray[np.bool_], begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ``voiced`` (n,) without runs that are too short to have a pitch."""
    starts = np.flatnonzero(voiced & (begins | ~np.concatenate(([False], voiced[:-1]))))
    kept = voiced.copy()
    for start in starts:
        after = np.flatnonzero(~voiced[start : start + _MIN_RUN] | begins[start : start + _MIN_RUN])
        after = after[after > 0]
        if len(after) or len(voiced) - start < _MIN_RUN:
            kept[start : start + (int(after[0]) if len(after) else _MIN_RUN)] = False
    return kept
