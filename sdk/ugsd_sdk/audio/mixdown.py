"""One channel of all, or each by itself, without what a recording should not have: an offset, or
channels that cancel.

What a mix needs is measured over a whole segment first, so that every block is mixed alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.audio.segments import Block, Float32, Segment
from ugsd_sdk.errors import BadSamples

__all__ = ["ApartMix", "ChannelStatistics", "Mix"]

_OFFSET_SHARE = 0.01
"""A mean below this share of the sound's rms is left, so that clean samples are not touched; the
largest in EMO-DB is 0.002, and 0.05 changes captions. A mean is an offset only if most samples lie
beyond half of it: one click in silence has a mean, too."""
_SILENT_SHARE = 1e-4
"""A channel with less than this share of the loudest one's energy (-40 dB) is not mixed in."""
_OPPOSED = -0.5
"""A channel whose correlation with the loudest one is below this is turned over. A mean of two
such channels would have less than a quarter of their energy."""


@dataclass(frozen=True)
class Mix:
    """How blocks (n, channels) become mono: subtract ``offsets``, then weigh."""

    offsets: NDArray[np.float64]
    weights: NDArray[np.float64]
    """They sum to at most 1 in absolute value, so that a mix is no louder than its channels."""
    peak: float
    """The largest absolute sample of a channel that is mixed in."""

    @classmethod
    def plain(cls, channels: int) -> Mix:
        """The mean of the channels, as they are."""
        return cls(np.zeros(channels), np.full(channels, 1 / channels), 0.0)

    @property
    def num_mixed(self) -> int:
        """The number of channels in what :meth:`of` returns: 1."""
        return 1

    @property
    def is_plain(self) -> bool:
        """Whether it is the mean of the channels, as they are."""
        return not self.offsets.any() and bool((self.weights == 1 / len(self.weights)).all())

    def of(self, block: Block) -> Float32:
        """``block`` as mono (n,)."""
        if self.offsets.any():
            block = block - self.offsets
        if block.shape[1] == 1:
            return block[:, 0].astype(np.float32, copy=False)
        mono = np.einsum("nc,c->n", block, self.weights.astype(block.dtype))
        return np.asarray(mono, np.float32)


class ApartMix(Mix):
    """Keeps channels apart: subtracts ``offsets``, and keeps those with a weight other than 0."""

    @property
    def num_mixed(self) -> int:
        """The number of channels in what :meth:`of` returns: those that are kept."""
        return int(np.count_nonzero(self.weights))

    @property
    def is_plain(self) -> bool:
        """No: it is no mean."""
        return False

    def of(self, block: Block) -> Float32:
        """The kept channels of ``block``, (n, k), or (n,) if it is one."""
        kept = block[:, self.weights != 0] - self.offsets[self.weights != 0]
        apart = np.asarray(kept, np.float32)
        return apart[:, 0] if apart.shape[1] == 1 else apart


class ChannelStatistics:
    """Mean, covariance and extremes of a segment's channels, block by block."""

    def __init__(self, segment: Segment) -> None:
        channels = segment.channels
        self._rate = segment.rate
        self.frames = 0
        self._shift = np.zeros(channels)
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._beyond = np.zeros(channels)
        self._low, self._high = np.full(channels, np.inf), np.full(channels, -np.inf)

    def add(self, block: Block, before_s: float) -> None:
        """Count ``block`` in. Raises :class:`BadSamples` for NaN and infinity, naming where in the
        recording it is; the segment begins ``before_s`` after the recording."""
        low, high = _over_frames(np.min, block), _over_frames(np.max, block)
        largest = np.finfo(np.float32).max
        if not (low >= -largest).all() or not (high <= largest).all():
            self._refuse(block, before_s)
        self._low = np.minimum(self._low, low)
        self._high = np.maximum(self._high, high)
        if not self.frames:
            self._shift = block[0].astype(np.float64)  # keeps the small beside a large offset
        centred = block - self._shift
        self.frames += len(block)
        sums = _over_frames(np.sum, centred)
        self._sum += sums
        half = (self._shift + sums / len(block)) / 2
        above = _over_frames(np.count_nonzero, block > half)
        self._beyond += np.where(half > 0, above, _over_frames(np.count_nonzero, block < half))
        self._products += np.einsum("ni,nj->ij", centred, centred)  # `@` starts threads

    def mix(self) -> Mix:
        """The mix of all that was counted in, which must be something."""
        covariance = self.covariance()
        energy = np.maximum(np.diag(covariance), 0)
        offsets = self._offsets(energy)
        loudest = int(np.argmax(energy))
        is_mixed = energy >= _SILENT_SHARE * energy[loudest]
        scale = np.sqrt(energy * energy[loudest])
        signs = np.where(covariance[loudest] < _OPPOSED * scale, -1.0, 1.0)
        peaks = self._peaks(offsets)
        return Mix(offsets, signs * is_mixed / is_mixed.sum(), float(peaks[is_mixed].max()))

    def apart(self, kept: Sequence[int]) -> ApartMix:
        """The channels ``kept`` by themselves."""
        energy = np.maximum(np.diag(self.covariance()), 0)
        offsets, weights = self._offsets(energy), np.zeros(len(energy))
        weights[[*kept]] = 1
        return ApartMix(offsets, weights, float(self._peaks(offsets)[[*kept]].max()))

    def covariance(self) -> NDArray[np.float64]:
        """The covariance (channels, channels) of all that was counted in."""
        mean = self._sum / self.frames
        return np.asarray(self._products / self.frames - np.outer(mean, mean))

    def peaks(self) -> NDArray[np.float64]:
        """The largest absolute sample (channels,) of each channel, offsets aside."""
        return self._peaks(self._offsets(np.maximum(np.diag(self.covariance()), 0)))

    def _offsets(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        offsets = self._shift + self._sum / self.frames
        is_small = np.abs(offsets) <= _OFFSET_SHARE * np.sqrt(energy)
        offsets[is_small | (2 * self._beyond <= self.frames)] = 0
        return np.asarray(offsets)

    def _peaks(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(np.abs(self._low - offsets), np.abs(self._high - offsets))

    def _refuse(self, block: Block, before_s: float) -> None:
        bad = ~(np.abs(block) <= np.finfo(np.float32).max).all(axis=1)
        at_s = before_s + (self.frames + int(np.argmax(bad))) / self._rate
        raise BadSamples(
            f"the clip holds NaN or infinite samples, the first at {at_s:.3f} s: check how it was "
            "recorded, or cut them out"
        )


def _over_frames(reduce: Callable[..., Any], block: NDArray[Any]) -> NDArray[Any]:
    """``reduce`` over the first axis; several times as fast for one channel as with an axis."""
    if block.shape[1] == 1:
        return np.atleast_1d(reduce(block[:, 0]))
    return np.asarray(reduce(block, axis=0))
