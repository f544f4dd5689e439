"""What a picture of a clip draws of the recording: its envelope, level and pitch over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.speech.spans import SAMPLE_RATE

__all__ = ["FRAME_S", "ClipContours", "SpanS", "contours_of"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
SpanS = tuple[float, float]
"""Start and end in seconds of the recording."""

FRAME_S = 0.01
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE)
_FLOOR_DB = -120.0
"""Level of digital silence."""


@dataclass(frozen=True)
class ClipContours:
    """A recording over time, in frames of 10 ms."""

    times_s: Float64
    """(n,): the middle of each frame."""
    envelope: Float32
    """(n, 2): the least and the greatest sample of each frame."""
    level_db: Float64
    """(n,): level relative to full scale."""
    pitch_st: Float64
    """(n,): pitch in semitones above 100 Hz; NaN where there is none."""
    speech: tuple[SpanS, ...]
    """The utterances, in order."""
    duration_s: float
    emphasis_s: float | None = None
    """Time of the strongest stress, if one was measured."""

    def thirds(self) -> tuple[SpanS, SpanS] | None:
        """Return the first and the last third of the speech, pauses left out; ``None`` if there is
        no speech."""
        speech_s = sum(end - start for start, end in self.speech)
        if speech_s <= 0:
            return None
        begin, end = self.speech[0][0], self.speech[-1][1]
        return (begin, self._after(speech_s / 3)), (self._after(2 * speech_s / 3), end)

    def _after(self, spoken_s: float) -> float:
        """Return the time at which so many seconds were spoken."""
        for start, end in self.speech:
            if spoken_s <= end - start:
                return start + spoken_s
            spoken_s -= end - start
        return self.speech[-1][1]


def contours_of(pieces: Iterable[Float32], speech: Sequence[SpanS]) -> ClipContours:
    """Return the contours of a recording, whose consecutive ``pieces`` are mono (n,) at 16 kHz, and
    whose utterances are ``speech``. Only a piece at a time is held in memory.
    """
    meter = ProsodyMeter()
    envelopes, levels = [], []
    num_samples = 0
    for piece in pieces:
        frames = _framed(piece)
        envelopes.append(np.stack([frames.min(1), frames.max(1)], axis=1))
        levels.append(_levels_db(frames))
        spans = _spans_within(speech, num_samples, len(piece))
        if spans:
            meter.add(piece, spans, num_samples)
        num_samples += len(piece)
    count = sum(map(len, levels))
    return ClipContours(
        times_s=FRAME_S * (np.arange(count, dtype=np.float64) + 0.5),
        envelope=np.concatenate([np.zeros((0, 2), np.float32), *envelopes]),
        level_db=np.concatenate([np.zeros(0), *levels]),
        pitch_st=_pitch_st(meter, count),
        speech=tuple(speech),
        duration_s=num_samples / SAMPLE_RATE,
        emphasis_s=_emphasis_s(meter),
    )


def _spans_within(speech: Sequence[SpanS], start: int, num_samples: int) -> list[tuple[int, int]]:
    """Return the spans of speech, in samples, of the piece that begins with sample ``start``."""
    spans = ((round(a * SAMPLE_RATE) - start, round(b * SAMPLE_RATE) - start) for a, b in speech)
    cut = ((max(begin, 0), min(end, num_samples)) for begin, end in spans)
    return [(begin, end) for begin, end in cut if begin < end]


def _framed(piece: Float32) -> Float32:
    """Return the frames (n, 160) of a piece; the last one is filled up with zeros."""
    return np.pad(piece, (0, -len(piece) % _FRAME_SAMPLES)).reshape(-1, _FRAME_SAMPLES)


def _levels_db(frames: Float32) -> Float64:
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    levels: Float64 = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
    return levels


def _pitch_st(meter: ProsodyMeter, num_frames: int) -> Float64:
    """Return the pitch (n,) in each frame of the recording; NaN where there is none."""
    pitch_st = np.full(num_frames, np.nan)
    contours = meter.contours()
    if contours is not None:
        frames = (contours.times_s / FRAME_S).astype(np.int64)
        pitch_st[np.minimum(frames, num_frames - 1)] = contours.pitch_st
    return pitch_st


def _emphasis_s(meter: ProsodyMeter) -> float | None:
    """Return the time of the strongest stress; ``None`` if there is none."""
    prosody = meter.result()
    if prosody is None or prosody.emphasis is None:
        return None
    return prosody.start_s + prosody.emphasis.place * (prosody.end_s - prosody.start_s)
