"""Chunks of any rate, joined to mono samples at 16 kHz on the stream's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from ugsd_sdk.errors import BadSamples
from ugsd_sdk.speech.spans import SAMPLE_RATE
from ugsd_sdk.streams.chunks import MonoChunk

__all__ = ["BRIDGED_S", "ChunkReader", "Missing"]

Float32 = NDArray[np.float32]

_JITTER_S = 0.01
"""Time stamps may be off by this."""
BRIDGED_S = 0.12
"""Less sound than this that is missing becomes silence within an utterance; more ends it."""


@dataclass(frozen=True)
class Missing:
    """Samples at 16 kHz that a source lost."""

    num_samples: int


class ChunkReader:
    """Resamples chunks and fills short gaps between their time stamps with silence.

    The first chunk starts the stream's clock, at 0. A chunk that starts later than the one before
    ended was preceded by a gap; one that starts earlier is joined to it, since sound is not cut
    off for time stamps that jitter.
    """

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._resampler: soxr.ResampleStream | None = None
        self._num_out = 0
        """Samples at 16 kHz that were returned or skipped."""
        self._base_s = 0.0
        self._frames = 0
        """Frames at the present rate since :attr:`_base_s`."""
        self._zero_s: float | None = None
        """The source's time at the start of the stream."""
        self._last_start_s = -np.inf

    @property
    def position_s(self) -> float:
        """Seconds of the stream that were read."""
        return self._base_s + self._frames / self._rate

    def read(self, chunk: MonoChunk) -> Iterator[Float32 | Missing]:
        """Yield what follows from ``chunk``. Raises :class:`BadSamples` if time goes back."""
        if chunk.start_s is not None:
            yield from self._move_to(chunk.start_s)
        if not len(chunk.samples):
            return
        if chunk.rate != self._rate:
            yield from self.finish()
            self._base_s, self._frames, self._rate = self.position_s, 0, chunk.rate
        self._frames += len(chunk.samples)
        yield from self._resampled(chunk.samples)

    def finish(self) -> Iterator[Float32]:
        """Yield what the resampler still holds. More may be read afterwards."""
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            yield from self._counted(resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def _move_to(self, start_s: float) -> Iterator[Float32 | Missing]:
        if start_s < self._last_start_s:
            raise BadSamples(
                f"a chunk starts {self._last_start_s - start_s:.3f} s before the one ahead of it: "
                "give time stamps that only grow, or none"
            )
        self._last_start_s = start_s
        if self._zero_s is None:
            self._zero_s = start_s - self.position_s
        missing_s = start_s - self._zero_s - self.position_s
        if missing_s < -BRIDGED_S:
            self._zero_s += missing_s  # the source's clock is slower than its samples
        elif missing_s > BRIDGED_S:
            yield from self.finish()
            self._base_s, self._frames = start_s - self._zero_s, 0
            missing = Missing(round(self._base_s * SAMPLE_RATE) - self._num_out)
            self._num_out += missing.num_samples
            yield missing
        elif missing_s > _JITTER_S:
            frames = round(missing_s * self._rate)
            self._frames += frames
            yield from self._resampled(np.zeros(frames, np.float32))

    def _resampled(self, samples: Float32) -> Iterator[Float32]:
        if self._rate == SAMPLE_RATE:
            yield from self._counted(samples)
            return
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32")
        yield from self._counted(self._resampler.resample_chunk(samples))

    def _counted(self, samples: Float32) -> Iterator[Float32]:
        self._num_out += len(samples)
        if len(samples):
            yield samples
