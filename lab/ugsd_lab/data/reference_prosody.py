"""Pitch, level and pauses over the course of a clip, measured independently of the device.

The device's own measures (:mod:`ugsd_sdk.prosody`) are judged against these, which come from other
means: pYIN (Mauch and Dixon 2014) for pitch, and plain root mean squares of whole clips, without a
voice activity detector, for levels and pauses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_lab.data.prosody import FRAME, HOP, SAMPLE_RATE, track_pitch

__all__ = ["ReferenceProsody", "measure_reference"]

Float64 = NDArray[np.float64]

_SILENCE_DB = 30.0
"""What lies further below the loudest frames is silence, in a clean recording."""
_FLOOR_PERCENTILE = 2
_ABOVE_FLOOR_DB = 6.0
_LEAST_RANGE_DB = 18.0
"""In a noisier one, so is what is close to the quietest frames, if speech rises so far above it."""
_LEVEL_FRAME = 400
_MIN_PAUSE_S = 0.25
_FINAL_S = 0.25
_EMPHASIS_FRAMES = 20
_CLICK_FRAMES = 5
"""Levels are medians over 50 ms where silence is sought."""
_MIN_VOICED_FRAMES = 10
_MIN_SPOKEN_FRAMES = 33


@dataclass(frozen=True)
class ReferenceProsody:
    """How one clip changes, pauses and stresses. A value that cannot be measured is NaN."""

    start_s: float
    """The first loud moment, breaths and clicks before the speech left out."""
    end_s: float
    """The end of the last."""
    pauses: tuple[tuple[float, float], ...]
    """Beginning and end of each silence of a quarter of a second or more between both."""
    level_change_db: float
    """Level in the last third of the speech minus that in its first third, as the next two."""
    effort_change_db: float
    pitch_change_st: float
    final_pitch_st: float
    """Pitch in the last quarter of a second of the speech minus the median, in semitones."""
    emphasis_place: float
    """Place of the peak of the level, smoothed over 200 ms: 0 is the start, 1 is the end."""


def measure_reference(samples: NDArray[np.float32]) -> ReferenceProsody:
    """Measure (n,) samples at 16 kHz of a clean recording."""
    level = _levels_db(samples)
    pitch = _pitch_st(samples, len(level))
    stretches = _stretches(level, np.isfinite(pitch))
    first, last = stretches[0][0], stretches[-1][1] - 1
    pauses = [(one[1], other[0]) for one, other in pairwise(stretches)]
    active = np.zeros(len(level), np.bool_)
    for start, end in stretches:
        active[start:end] = True
    power = _power(samples)[:, : len(level)]
    split = round(1000 * FRAME / SAMPLE_RATE)
    voiced = np.isfinite(pitch)
    frames = np.flatnonzero(active)
    parts = [frames[: len(frames) // 3], frames[-(len(frames) // 3) :]]
    levels = [10 * np.log10(np.mean(10 ** (level[part] / 10))) for part in parts]
    efforts = [_effort_db(power[:, part[voiced[part]]], split) for part in parts]
    pitches = [_median(pitch[part]) for part in parts]
    final = pitch[frames[-round(_FINAL_S * SAMPLE_RATE / HOP) :]]
    smooth = np.convolve(10 ** (level / 10) * active, np.ones(_EMPHASIS_FRAMES), "same")
    return ReferenceProsody(
        start_s=first * HOP / SAMPLE_RATE,
        end_s=(last + 1) * HOP / SAMPLE_RATE,
        pauses=tuple((a * HOP / SAMPLE_RATE, b * HOP / SAMPLE_RATE) for a, b in pauses),
        level_change_db=float(levels[1] - levels[0]),
        effort_change_db=efforts[1] - efforts[0],
        pitch_change_st=pitches[1] - pitches[0],
        final_pitch_st=_median(final) - _median(pitch),
        emphasis_place=(int(smooth.argmax()) - first) / max(1, last - first),
    )


def _stretches(level: Float64, voiced: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches of frames between silences of a quarter of a second or more, from the
    first to the last with a tenth of a second of voice or a third of sound, or all without any."""
    half = _CLICK_FRAMES // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(level, half, "edge"), 2 * half + 1)
    level = np.median(windows, axis=1)
    loud = float(np.percentile(level, 95))
    floor = float(np.percentile(level, _FLOOR_PERCENTILE))
    silence = max(loud - _SILENCE_DB, min(floor + _ABOVE_FLOOR_DB, loud - _LEAST_RANGE_DB))
    speech = level > silence
    first, last = (int(i) for i in np.flatnonzero(speech)[[0, -1]])
    active = np.zeros_like(speech)
    active[first : last + 1] = True
    for start, end in _runs(~speech, round(_MIN_PAUSE_S * SAMPLE_RATE / HOP)):
        active[start:end] = False
    stretches = _runs(active, 1)
    spoken = [
        i
        for i, (start, end) in enumerate(stretches)
        if voiced[start:end].sum() >= _MIN_VOICED_FRAMES or end - start >= _MIN_SPOKEN_FRAMES
    ]
    return stretches[spoken[0] : spoken[-1] + 1] if spoken else stretches


def _levels_db(samples: NDArray[np.float32]) -> Float64:
    """Return the level (n,) of frames of 25 ms, every 10 ms."""
    librosa = compiled_librosa()
    rms = librosa.feature.rms(y=samples, frame_length=_LEVEL_FRAME, hop_length=HOP)[0]
    return np.asarray(20 * np.log10(rms.astype(np.float64) + 1e-7))


def _power(samples: NDArray[np.float32]) -> Float64:
    librosa = compiled_librosa()
    frames = librosa.util.frame(np.pad(samples, FRAME // 2), frame_length=FRAME, hop_length=HOP)
    return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(FRAME)[:, None], axis=0)) ** 2)


def _pitch_st(samples: NDArray[np.float32], num_frames: int) -> Float64:
    """Return the pitch (num_frames,) in semitones above 100 Hz, NaN where it has no pitch."""
    f0, voiced = track_pitch(samples)
    semitones = np.where(voiced, 12 * np.log2(f0 / 100), np.nan)
    repeated = np.repeat(semitones, 2)[:num_frames]
    return np.pad(repeated, (0, num_frames - len(repeated)), constant_values=np.nan)


def _effort_db(power: Float64, split: int) -> float:
    if not power.shape[1]:
        return math.nan
    spectrum = power.mean(axis=1)
    return float(10 * np.log10(spectrum[split:].sum() / spectrum[2:split].sum()))


def _median(values: Float64) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _runs(flags: NDArray[np.bool_], length: int) -> list[tuple[int, int]]:
    """Return the first frame of each run of at least ``length`` flags and the one after its
    last."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= length]
