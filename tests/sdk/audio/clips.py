"""Clips for the tests, made by the encoders that people use: libsndfile's and FFmpeg's."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

__all__ = ["NoSeeking", "assert_is_tone", "by_ffmpeg", "encoded", "tone"]


def tone(rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> NDArray[np.float64]:
    """A sine of 300 Hz."""
    return amplitude * np.sin(2 * np.pi * 300 * np.arange(int(rate * seconds)) / rate)


def encoded(
    samples: NDArray[np.generic], rate: int, kind: str, subtype: str | None = None
) -> bytes:
    """A file as libsndfile writes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


class NoSeeking:
    """A pipe to write to: what was written cannot be changed afterwards."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


def by_ffmpeg(
    samples: NDArray[np.floating],
    rate: int,
    container: str,
    codec: str,
    *,
    options: dict[str, str] | None = None,
    is_pipe: bool = False,
    qscale: bool = False,
) -> bytes:
    """A file as FFmpeg writes it; to a pipe if ``is_pipe``."""
    target = NoSeeking() if is_pipe else io.BytesIO()
    with av.open(target, "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if qscale:
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = 9 * 118
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.float32)[np.newaxis], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return bytes(target.written) if isinstance(target, NoSeeking) else target.getvalue()


def assert_is_tone(
    samples: NDArray[np.float32], *, seconds: float = 1.0, tolerance: float = 0.03
) -> None:
    """``samples`` are :func:`tone` at 16 kHz, and nothing is missing at the ends."""
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 16_000 * seconds) <= 16
    assert np.abs(samples).max() <= 1
    middle = slice(1000, len(samples) - 1000)
    expected = tone(16_000, seconds)[: len(samples)]
    assert np.abs(samples - expected)[middle].max() < tolerance
