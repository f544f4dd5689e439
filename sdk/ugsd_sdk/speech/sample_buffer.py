"""The last samples of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampleBuffer"]

Float32 = NDArray[np.float32]

_LEAST = 16_384


class SampleBuffer:
    """Holds consecutive samples of a stream, from :attr:`start` to before :attr:`end`.

    It grows to what is kept in it; whoever uses it keeps it bounded by :meth:`forget_before`.
    """

    def __init__(self) -> None:
        self._samples = np.zeros(_LEAST, np.float32)
        self._first = 0
        self.start = 0
        """Position in the stream of the first sample that is held."""
        self.end = 0
        """Position after the last one."""

    def append(self, samples: Float32) -> None:
        """Add ``samples`` (n,)."""
        held, needed = self.end - self.start, self.end - self.start + len(samples)
        if self._first + needed > len(self._samples):
            target = self._samples
            if 2 * needed > len(target) or 8 * needed < len(target) > _LEAST:
                target = np.zeros(max(_LEAST, 4 * needed), np.float32)
            target[:held] = self._samples[self._first : self._first + held].copy()
            self._samples, self._first = target, 0
        self._samples[self._first + held : self._first + needed] = samples
        self.end += len(samples)

    def between(self, start: int, end: int) -> Float32:
        """Return a view of the samples from ``start`` to before ``end``, as far as they are held.
        It is valid until the next :meth:`append`."""
        start, end = max(start, self.start), min(end, self.end)
        return self._samples[self._first + start - self.start : self._first + end - self.start]

    def forget_before(self, position: int) -> None:
        """Drop the samples before ``position``."""
        if position > self.start:
            position = min(position, self.end)
            self._first += position - self.start
            self.start = position

    def restart(self, position: int) -> None:
        """Drop all samples and go on at ``position``."""
        self.start = self.end = position
        self._first = 0
