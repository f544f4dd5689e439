"""Samples that are given as an array, a tensor, a series or a list, scaled to full scale.

* Floats are taken as they are; the whole recording is scaled down later if it goes beyond 1.
* Integers of 8 and 16 bits are divided by their type's full scale; unsigned ones are centred first.
* Wider integers often hold narrower samples. Signed ones within 16 bits are taken as such: as
  samples of their type they would be below -96 dB, where no recording has a voice. Those within 24
  bits are refused, since -48 dB is a quiet recording but a possible one. Unsigned samples are
  centred, so that their largest value says how wide they are.
* Channels stand first or last. The side of at most 8 is the channels; where both or none are, the
  array is refused.
"""

from __future__ import annotations

import numbers
from collections.abc import AsyncIterator, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.audio.segments import BLOCK_FRAMES, MAX_CHANNELS, Block, Segment, check_rate
from ugsd_sdk.errors import BadSamples, EmptyAudio

__all__ = ["array_segment", "as_array", "checked_rate"]

_WAY = "give (samples,) or (samples, channels)"


def array_segment(clip: object, sample_rate: float | None) -> Segment:
    """The samples of ``clip`` as a segment. Raises :class:`BadSamples` and :class:`EmptyAudio`."""
    samples = _samples_last_channels(as_array(clip))
    rate = checked_rate(sample_rate)
    centre, full_scale = _scale(samples)

    def read() -> Iterator[Block]:
        for at in range(0, len(samples), BLOCK_FRAMES):
            block = samples[at : at + BLOCK_FRAMES]
            if block.dtype == np.float32:
                yield block.astype(np.float32, copy=False)
            else:
                yield (block.astype(np.float64) - centre) / full_scale

    return Segment(rate, samples.shape[1], read, len(samples))


def checked_rate(sample_rate: float | None) -> int:
    """Return a sample rate in Hz as a whole number. Raises :class:`BadSamples`."""
    if sample_rate is None:
        raise BadSamples("samples need their sample_rate in Hz: caption(samples, 16_000)")
    if isinstance(sample_rate, (bool, np.bool_)) or not isinstance(sample_rate, numbers.Real):
        raise BadSamples(
            f"sample_rate is a {type(sample_rate).__name__}: give a whole number of Hz"
        )
    if sample_rate % 1:  # also of infinity and NaN
        raise BadSamples(f"a sample_rate of {sample_rate} Hz: give a whole number of Hz")
    check_rate(int(sample_rate))
    return int(sample_rate)


def as_array(clip: object) -> NDArray[np.generic]:
    """Return ``clip`` by the protocols of arrays. Raises :class:`BadSamples`."""
    if isinstance(clip, np.ma.MaskedArray):
        return _unmasked(clip)
    if isinstance(clip, np.ndarray):
        return np.asarray(clip)
    try:
        array = _converted(clip)
    except BadSamples:
        raise
    except Exception as error:
        raise BadSamples(
            f"a {type(clip).__name__} that cannot be made an array ({type(error).__name__}): "
            "give a NumPy array of numbers; move a tensor to the CPU first"
        ) from error
    if array is None:
        raise BadSamples(
            "a clip is a path, the bytes of a file, an open file or an array of samples, not "
            f"{type(clip).__name__}{_remedy(clip)}"
        )
    return array


def _remedy(clip: object) -> str:
    """Return what to do with something that is not a clip, but holds one or several."""
    if isinstance(clip, Mapping):
        return ": pass its samples and their sample rate, as two arguments"
    if isinstance(clip, (Iterator, AsyncIterator)):
        return ": pass chunks of one sound to stream(), and several clips to caption_many()"
    return ""


def _unmasked(
    clip: np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]],
) -> NDArray[np.generic]:
    masked = np.argwhere(np.ma.getmaskarray(clip))
    if len(masked):
        raise BadSamples(
            f"{len(masked)} samples are masked, the first at {tuple(masked[0].tolist())}: fill "
            "them, for example by .filled(0), or cut them out"
        )
    return np.asarray(clip.data)


def _converted(clip: object) -> NDArray[np.generic] | None:
    """``clip`` by the protocols of arrays; ``None`` if it has none. No library is imported."""
    if isinstance(clip, (list, tuple)):
        if len(clip) == 2 and sum(isinstance(part, numbers.Number) for part in clip) == 1:
            raise BadSamples(
                "samples and their sample rate in one tuple: pass them as two arguments, samples "
                "first"
            )
        if clip and not isinstance(clip[0], (numbers.Number, list, tuple)):
            raise BadSamples(
                f"a list of {type(clip[0]).__name__}: join the pieces first, for example by "
                "np.concatenate(pieces)"
            )
        return np.asarray(clip)
    if callable(detach := getattr(clip, "detach", None)):  # of a tensor that learns
        clip = detach()
    if hasattr(clip, "__array__"):
        return np.asarray(clip)
    if hasattr(clip, "__dlpack__"):
        return np.from_dlpack(clip)
    if callable(numpy := getattr(clip, "numpy", None)):
        return np.asarray(numpy())
    try:
        return np.asarray(memoryview(clip))  # type: ignore[arg-type]
    except TypeError:
        return None


def _samples_last_channels(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """``samples`` as (samples, channels)."""
    if samples.dtype.kind not in "iuf":
        raise BadSamples(f"samples of type {samples.dtype}: give integers or floats")
    if samples.ndim == 3 and samples.shape[0] == 1:  # a batch of one
        samples = samples[0]
    if samples.ndim not in {1, 2}:
        raise BadSamples(f"an array of {samples.ndim} dimensions: {_WAY}")
    if not samples.size:
        raise EmptyAudio("the array holds no samples: record again")
    if samples.ndim == 1:
        return samples[:, np.newaxis]
    few = [size <= MAX_CHANNELS for size in samples.shape]
    if few[0] and few[1]:
        raise BadSamples(
            f"an array of shape {samples.shape} may be samples or channels first: {_WAY}, and at "
            "least 0.1 s"
        )
    if not few[0] and not few[1]:
        raise BadSamples(
            f"an array of shape {samples.shape} has more than {MAX_CHANNELS} channels: {_WAY}"
        )
    return samples.T if few[0] else samples


def _scale(samples: NDArray[np.generic]) -> tuple[float, float]:
    """What is subtracted from samples, and what they are divided by then."""
    kind, width = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        return 0.0, 1.0
    low, high = int(samples.min()), int(samples.max())
    if kind == "u":
        return _unsigned_scale(samples, low, high, width)
    if width > 16:
        width = _signed_width(low, high, width)
    return 0.0, 2.0 ** (width - 1)


def _signed_width(low: int, high: int, width: int) -> int:
    peak = max(high, -low - 1)
    if high > low >= 0:
        raise BadSamples(
            f"integers from {low} to {high}, never negative, are no signed samples: convert them "
            "to the unsigned type that they were, or to floats within [-1, 1]"
        )
    if peak < 2**15:
        return 16
    if peak < 2**23:
        raise BadSamples(
            f"integers of {width} bits from {low} to {high} may be 24-bit samples or a quiet "
            "recording: give floats, divided by 2**23 or by the full scale that they have"
        )
    return 32 if peak < 2**31 else 64


def _unsigned_scale(
    samples: NDArray[np.generic], low: int, high: int, width: int
) -> tuple[float, float]:
    if low == high:  # silence, whatever its centre is
        return float(low), 2.0 ** (width - 1)
    held = next(bits for bits in (8, 16, 24, 32, 64) if high < 2**bits)
    half = 2.0 ** (held - 1)
    values = samples[:, 0].astype(np.float64)
    as_signed = np.where(values < half, values, values - 2 * half)
    if np.abs(np.diff(values)).sum() > 2 * np.abs(np.diff(as_signed)).sum():
        raise BadSamples(
            f"unsigned integers from {low} to {high} that jump between the ends of their range are "
            f"signed samples: give them as such, for example by .view(np.int{width})"
        )
    return half, half
