"""Prosody measured by other means than the device's, to check what captions claim.

Pitch is tracked by probabilistic YIN (Mauch and Dixon 2014, librosa), the pace of a whole recording
comes from the known number of syllables, and levels, pauses and stress from the root mean square of
frames. Only the change of pace within a recording has no known count: it is estimated from peaks of
the energy between 300 and 2500 Hz (after Mermelstein 1975).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.prosody.prosody import Changes, Emphasis, Pause, Prosody

from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_lab.data.prosody import FRAME, HOP, SAMPLE_RATE, Measures, track_pitch

__all__ = ["MIN_PAUSE_S", "independent_prosody"]

MIN_PAUSE_S = 0.25
"""Shorter silences are closures of consonants, not pauses."""
_SILENCE_DB = 30.0
"""Silence is so far below the 95th percentile of the level, as in
:func:`ugsd_lab.data.prosody.measure`."""
_FRAME_S = HOP / SAMPLE_RATE
_MIN_CHANGE_S = 1.0
"""With less speech in all, its thirds are too short to compare."""
_MIN_VOICED_FRAMES = 20
"""Least voiced frames of a pitch: 0.2 s."""
_STRESS_FRAMES = 20
"""Levels are smoothed over 0.2 s, about a syllable, to find the strongest stress."""
_NUCLEI_HZ = (300.0, 2500.0)
_NUCLEUS_DIP_DB = 2.0
_NUCLEUS_DISTANCE_FRAMES = 8


@dataclass(frozen=True)
class _Contours:
    """Frames of 10 ms, from the first speech to the last."""

    start: int
    """First frame of speech in the recording."""
    level_db: NDArray[np.float64]
    power: NDArray[np.float64]
    """(bins, frames)"""
    pitch_st: NDArray[np.float64]
    """NaN where no voice is heard."""
    pauses: tuple[tuple[int, int], ...]
    """First frame of each pause and the one after its last."""

    @property
    def spoken(self) -> NDArray[np.int64]:
        """Frames outside of pauses."""
        inside = np.ones(len(self.level_db), dtype=bool)
        for start, end in self.pauses:
            inside[start:end] = False
        return np.flatnonzero(inside)


def independent_prosody(samples: NDArray[np.float32], measures: Measures) -> Prosody | None:
    """Return the prosody of (n,) samples at 16 kHz, whose :class:`Measures` are known. ``None``
    for a silent recording."""
    contours = _contours(samples)
    if contours is None:
        return None
    spoken, offset = contours.spoken, contours.start
    return Prosody(
        speech_s=len(spoken) * _FRAME_S,
        start_s=offset * _FRAME_S,
        end_s=(offset + len(contours.level_db)) * _FRAME_S,
        level_db=measures.level_db,
        effort_db=_known(measures.tilt_db),
        pitch_st=_known(measures.pitch_st),
        variation_st=_known(measures.pitch_sd_st),
        clarity_db=_known(measures.cpp_db),
        pace=_known(measures.pace),
        pauses=tuple(
            Pause((offset + start) * _FRAME_S, (offset + end) * _FRAME_S)
            for start, end in contours.pauses
        ),
        changes=_changes(contours, spoken),
        emphasis=_emphasis(contours, spoken),
    )


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _contours(samples: NDArray[np.float32]) -> _Contours | None:
    if not np.any(samples):
        return None
    librosa = compiled_librosa()
    frames = librosa.util.frame(np.pad(samples, FRAME // 2), frame_length=FRAME, hop_length=HOP)
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME)[:, None], axis=0)) ** 2
    level = 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=0) + 1e-14)
    speech = level > np.percentile(level, 95) - _SILENCE_DB
    f0, voiced = track_pitch(samples)
    pitch = np.full(len(level), np.nan)
    semitones = np.repeat(np.where(voiced, 12 * np.log2(f0 / 100), np.nan), 2)[: len(level)]
    pitch[: len(semitones)] = semitones
    stretches = _stretches(speech, np.isfinite(pitch))
    start, end = stretches[0][0], stretches[-1][1]
    inside = slice(start, end)
    pauses = tuple((one[1] - start, other[0] - start) for one, other in pairwise(stretches))
    return _Contours(start, level[inside], power[:, inside], pitch[inside], pauses)


def _stretches(speech: NDArray[np.bool_], voiced: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of each stretch between pauses and the one after its last. A breath
    or a click before and after all of them, which has no pitch, is left out."""
    frames = np.flatnonzero(speech)
    gaps = np.flatnonzero(np.diff(frames) - 1 >= MIN_PAUSE_S / _FRAME_S)
    stretches = [(int(run[0]), int(run[-1]) + 1) for run in np.split(frames, gaps + 1)]
    with_pitch = [i for i, (start, end) in enumerate(stretches) if voiced[start:end].any()]
    return stretches[with_pitch[0] : with_pitch[-1] + 1] if with_pitch else stretches


def _changes(contours: _Contours, spoken: NDArray[np.int64]) -> Changes | None:
    if len(spoken) * _FRAME_S < _MIN_CHANGE_S:
        return None
    first, _, last = np.array_split(spoken, 3)
    nuclei = _nuclei(contours.power)
    return Changes(
        effort_db=_tilt_db(contours, last) - _tilt_db(contours, first),
        level_db=_level_db(contours, last) - _level_db(contours, first),
        pitch_st=_difference(_pitch(contours, last), _pitch(contours, first)),
        pace=float(_rate(nuclei, last) - _rate(nuclei, first)),
        final_pitch_st=_difference(_final_pitch(contours), _pitch(contours, spoken)),
    )


def _level_db(contours: _Contours, frames: NDArray[np.int64]) -> float:
    return float(10 * np.log10(np.mean(10 ** (contours.level_db[frames] / 10))))


def _tilt_db(contours: _Contours, frames: NDArray[np.int64]) -> float:
    """Energy above 1 kHz over energy below, in voiced frames if there are some."""
    voiced = frames[np.isfinite(contours.pitch_st[frames])]
    spectrum = contours.power[:, voiced if len(voiced) else frames].mean(axis=1)
    split = round(1000 * FRAME / SAMPLE_RATE)
    above, below = spectrum[split:].sum(), spectrum[2:split].sum()
    return float(10 * np.log10((above + 1e-12) / (below + 1e-12)))


def _pitch(contours: _Contours, frames: NDArray[np.int64]) -> float | None:
    voiced = contours.pitch_st[frames]
    voiced = voiced[np.isfinite(voiced)]
    return float(np.median(voiced)) if len(voiced) >= _MIN_VOICED_FRAMES else None


def _final_pitch(contours: _Contours) -> float | None:
    """Median pitch of the last 0.2 s of voice."""
    voiced = contours.pitch_st[np.isfinite(contours.pitch_st)]
    return (
        float(np.median(voiced[-_MIN_VOICED_FRAMES:]))
        if len(voiced) >= 2 * _MIN_VOICED_FRAMES
        else None
    )


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _nuclei(power: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the frames of the peaks of the energy between 300 and 2500 Hz."""
    from scipy.signal import find_peaks

    low, high = (round(hz * FRAME / SAMPLE_RATE) for hz in _NUCLEI_HZ)
    energy_db = 10 * np.log10(power[low:high].sum(axis=0) + 1e-12)
    smooth = np.convolve(np.pad(energy_db, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    peaks, _ = find_peaks(
        smooth,
        height=np.percentile(smooth, 95) - _SILENCE_DB,
        prominence=_NUCLEUS_DIP_DB,
        distance=_NUCLEUS_DISTANCE_FRAMES,
    )
    return np.asarray(peaks, dtype=np.int64)


def _rate(nuclei: NDArray[np.int64], frames: NDArray[np.int64]) -> float:
    """Return the nuclei per second in ``frames``."""
    return float(np.isin(nuclei, frames).sum() / (len(frames) * _FRAME_S))


def _emphasis(contours: _Contours, spoken: NDArray[np.int64]) -> Emphasis | None:
    """Return where the smoothed level is highest, and how far above that of the other thirds."""
    count = len(contours.level_db)
    if len(spoken) * _FRAME_S < _MIN_CHANGE_S:
        return None
    linear = np.pad(10 ** (contours.level_db / 10), (_STRESS_FRAMES // 2, _STRESS_FRAMES // 2 - 1))
    window = np.full(_STRESS_FRAMES, 1 / _STRESS_FRAMES)
    smooth = 10 * np.log10(np.convolve(linear, window, mode="valid") + 1e-14)
    peak = int(smooth.argmax())
    place = (peak + 0.5) / count
    thirds = np.minimum((np.arange(count) + 0.5) / count * 3, 2.999).astype(int)
    others = smooth[thirds != int(place * 3)]
    return Emphasis(place=place, prominence_db=float(smooth[peak] - others.max()))
