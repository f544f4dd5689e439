"""Read a clip, from a file, bytes or an array, as mono float32 at the drafter's sample rate.

libsndfile decodes paths and bytes. It is given only WAV (including RF64), AIFF, FLAC, MP3, Ogg
Vorbis and Ogg Opus; WAV and AIFF with PCM, float, mu-law or A-law samples. An array holds samples
with the channels last. The rules:

* A file's size is checked before it is read, by its format: docs/decisions/031 has the limits. A
  pipe, device or folder is refused at once.
* The length is checked in the header before decoding, and again on the decoded samples.
* Channels are averaged; integers are scaled by their type's range; unsigned 8-bit is centred.
* Floats beyond [-1, 1] are scaled down together, so that the loudest sample is 1: nothing is
  clipped, and arrays that hold 16-bit values as floats are read as intended.
* A file whose data end before its header says is refused. A truncated WAV cannot be recognised
  (libsndfile uses the file's size) and is captioned as the shorter clip.
* Every fault is an :class:`~ugsd_sdk.errors.AudioError`.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ugsd_sdk.audio.clip_files import EncodedClip, check_size, open_clip
from ugsd_sdk.audio.clip_formats import (
    FORMATS,
    MAX_CHANNELS,
    MAX_DURATION_S,
    MAX_RATE,
    ClipFormat,
    check_found,
)
from ugsd_sdk.errors import (
    AudioTooLong,
    AudioTooShort,
    BadSamples,
    EmptyAudio,
    SilentAudio,
    UnreadableAudio,
)

__all__ = ["MAX_DURATION_S", "MIN_DURATION_S", "Clip", "read_clip"]

Float32 = NDArray[np.float32]
Clip: TypeAlias = str | os.PathLike[str] | bytes | NDArray[np.generic]

MIN_DURATION_S = 0.1
MIN_RATE = 4_000
SILENCE = 2.0**-15
"""A clip is silent if all its samples lie within one 16-bit step."""


def read_clip(clip: Clip, sample_rate: int | None = None, *, target_rate: int = 16_000) -> Float32:
    """Return mono samples (n,) float32 in [-1, 1] at ``target_rate``.

    ``clip`` is a path, the bytes of an encoded file, or an array (n,) or (n, channels).
    ``sample_rate`` in Hz is required with an array and refused with a file, which has its own.
    Raises only :class:`~ugsd_sdk.errors.AudioError`.
    """
    if isinstance(clip, np.ndarray):
        samples, rate = _from_array(clip, sample_rate)
    elif isinstance(clip, (str, os.PathLike, bytes, bytearray, memoryview)):
        if sample_rate is not None:
            raise BadSamples(
                "sample_rate is only for arrays, since a file has its own: leave it out"
            )
        samples, rate = _from_file(clip)
    else:
        raise BadSamples(f"a clip must be a path, bytes or an array, not {type(clip).__name__}")
    _check_samples(samples, rate)
    peak = float(np.max(np.abs(samples)))
    if peak > 1:
        samples = (samples / np.float32(peak)).astype(np.float32)
    if rate != target_rate:
        samples = soxr.resample(samples, rate, target_rate)
    return np.clip(samples, -1, 1).astype(np.float32, copy=False)


def _check_samples(samples: Float32, rate: int) -> None:
    if samples.size == 0:
        raise EmptyAudio("the clip has no samples: record it again")
    if not np.isfinite(samples).all():
        raise BadSamples("the clip has NaN or infinite samples: check how it was recorded")
    _check_duration(samples.size / rate)
    if samples.size < MIN_DURATION_S * rate:
        raise AudioTooShort(
            f"the clip lasts {1000 * samples.size / rate:.0f} ms: "
            f"give at least {1000 * MIN_DURATION_S:.0f} ms"
        )
    if float(np.ptp(samples)) < SILENCE:
        raise SilentAudio("the clip is digital silence: check the microphone or the file")


def _check_duration(duration_s: float) -> None:
    if duration_s > MAX_DURATION_S:
        raise AudioTooLong(
            f"the clip lasts {duration_s:.0f} s: give at most {MAX_DURATION_S:.0f} s, "
            "cut for example with `ffmpeg -ss 0 -t 30 -i long.wav clip.wav`"
        )


def _check_rate(rate: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadSamples(f"the sample rate is {rate} Hz: use {MIN_RATE} to {MAX_RATE} Hz")


def _check_channels(channels: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadSamples(
            f"{channels} channels are not supported: give 1 to {MAX_CHANNELS}, shaped "
            "(samples, channels)"
        )


def _from_array(samples: NDArray[np.generic], sample_rate: int | None) -> tuple[Float32, int]:
    if sample_rate is None:
        raise BadSamples("an array needs a sample_rate in Hz: give it")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)):
        raise BadSamples("sample_rate must be a whole number of Hz")
    _check_rate(int(sample_rate))
    if samples.ndim not in {1, 2}:
        raise BadSamples(f"the array has {samples.ndim} dimensions: give (n,) or (n, channels)")
    if samples.shape[0] == 0:
        raise EmptyAudio("the array has no samples: check how it was recorded")
    if samples.ndim == 2:
        _check_channels(samples.shape[1])
    _check_duration(samples.shape[0] / sample_rate)
    mono = _as_float(samples)
    if mono.ndim == 2:
        mono = mono.mean(axis=1)
    return np.ascontiguousarray(mono, dtype=np.float32), int(sample_rate)


def _as_float(samples: NDArray[np.generic]) -> NDArray[np.float64]:
    kind, limits = samples.dtype.kind, np.finfo(np.float32)
    if kind == "f":
        values = samples.astype(np.float64)
        if np.any(np.abs(values) > limits.max):  # also infinity; NaN is found later
            raise BadSamples("the clip has infinite samples: check how it was recorded")
        return values
    if kind == "i":
        return samples.astype(np.float64) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    if kind == "u":
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        return (samples.astype(np.float64) - half) / half
    raise BadSamples(f"the samples have type {samples.dtype}: give integers or floats")


def _from_file(clip: EncodedClip) -> tuple[Float32, int]:
    with open_clip(clip) as (source, found, size):
        try:
            with soundfile.SoundFile(source) as file:
                check_found(found, file.format, file.subtype)
                samples, rate = _decode(file, found, size), int(file.samplerate)
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
            raise _undecodable() from error
        if source.is_exhausted:
            raise _undecodable()
        return samples, rate


def _undecodable() -> UnreadableAudio:
    return UnreadableAudio(
        f"damaged, or not the format that its first bytes indicate: give {FORMATS}, converted for "
        "example with `ffmpeg -i clip.m4a clip.wav`"
    )


def _decode(file: soundfile.SoundFile, found: ClipFormat, size: int) -> Float32:
    """Decode an open file to mono, in bounded time and memory whatever its header says."""
    rate, declared = int(file.samplerate), int(file.frames)
    _check_rate(rate)
    _check_channels(int(file.channels))
    is_stream = declared > 2**40  # written without knowing its length
    if not is_stream:
        _check_duration(declared / rate)
    check_size(found, size, rate, int(file.channels))
    most = int(MAX_DURATION_S * rate) + 1
    chunks: list[Float32] = []
    decoded = 0
    while decoded < most:
        chunk = file.read(min(rate, most - decoded), dtype="float32", always_2d=True)
        if not len(chunk):
            break
        chunks.append(chunk.mean(axis=1, dtype=np.float32))
        decoded += len(chunk)
    if not is_stream and decoded < declared:
        raise UnreadableAudio(
            f"damaged: only {decoded / rate:.2f} s of {declared / rate:.2f} s could be decoded: "
            "copy or record the file again"
        )
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
