"""Chunks of PCM in the forms that sources give them, checked and made mono."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ugsd_sdk.audio.array_samples import as_array, checked_rate
from ugsd_sdk.audio.segments import MAX_CHANNELS
from ugsd_sdk.errors import BadSamples

__all__ = ["AudioChunk", "MonoChunk", "mono_chunk"]

Float32 = NDArray[np.float32]

_INT16_SCALE = 2.0**15
_LATEST_S = 1e10
"""Three centuries: a later time is in another unit."""
_LOUDEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive samples with their rate, for sources whose rate changes or that lose sound."""

    samples: ArrayLike | bytes = field(repr=False)
    """Floats or int16, (n,) or (n, channels), or bytes of mono int16 in little-endian order."""
    sample_rate: float | None = None
    """In Hz; ``None`` for the rate that the stream was given."""
    start_s: float | None = None
    """When the first sample was recorded, in seconds by any clock that does not stop,
    from -1e10 to 1e10."""


@dataclass(frozen=True)
class MonoChunk:
    """A chunk that was checked."""

    samples: Float32
    """Mono (n,), finite."""
    rate: int
    start_s: float | None

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return len(self.samples) / self.rate


def mono_chunk(item: object, sample_rate: float | None) -> MonoChunk:
    """Return ``item``, an :class:`AudioChunk` or its samples, as mono.

    Raises :class:`BadSamples`.
    """
    chunk = item if isinstance(item, AudioChunk) else AudioChunk(item)  # type: ignore[arg-type]
    rate = checked_rate(sample_rate if chunk.sample_rate is None else chunk.sample_rate)
    return MonoChunk(_mono(_samples(chunk.samples)), rate, _start_s(chunk.start_s))


def _start_s(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, Real):
        raise BadSamples(
            f"a chunk's start_s is of type {type(given).__name__}: give seconds as a number, or "
            "None"
        )
    if not -_LATEST_S <= given <= _LATEST_S:  # type: ignore[operator]
        raise BadSamples(
            f"a chunk's start_s is not finite, or beyond {_LATEST_S:.0e} s: give seconds of a "
            "clock, or None"
        )
    return float(given)


def _samples(given: object) -> NDArray[np.generic]:
    if isinstance(given, (bytes, bytearray, memoryview)):
        data = bytes(given)
        if len(data) % 2:
            raise BadSamples(
                f"a chunk of {len(data)} bytes: samples have 2 bytes each, so give whole ones"
            )
        return np.frombuffer(data, "<i2")
    return as_array(given)


def _mono(samples: NDArray[np.generic]) -> Float32:
    if samples.dtype.kind != "f" and samples.dtype != np.int16:
        raise BadSamples(f"a chunk of type {samples.dtype}: give floats within [-1, 1], or int16")
    if samples.ndim not in {1, 2} or (samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS):
        raise BadSamples(
            f"a chunk of shape {samples.shape}: give (n,) or (n, channels), with at most "
            f"{MAX_CHANNELS} channels"
        )
    scale = 1.0 if samples.dtype.kind == "f" else _INT16_SCALE
    if samples.ndim == 1:
        mono = samples.astype(np.float64) / scale
    else:
        mono = samples.mean(axis=1, dtype=np.float64) / scale if samples.size else np.zeros(0)
    if not (np.abs(mono) <= _LOUDEST).all():
        raise BadSamples(
            "a chunk holds NaN or infinite samples: check how it was recorded, or leave it out and "
            "give the next one its start_s"
        )
    return mono.astype(np.float32)
