"""What a decoder hands on: stretches of sound of one rate, read block by block.

Most clips are one segment. Ogg files that were chained have one for each link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.errors import AudioTooLong, BadSamples

__all__ = [
    "BLOCK_FRAMES",
    "MAX_CHANNELS",
    "MAX_DURATION_S",
    "MAX_RATE",
    "MIN_RATE",
    "Block",
    "Float32",
    "Segment",
    "check_channels",
    "check_duration",
    "check_rate",
]

Float32 = NDArray[np.float32]
Block = NDArray[np.float32] | NDArray[np.float64]
"""Samples (n, channels), not yet mixed; 1 is full scale, but floats may go beyond it."""

BLOCK_FRAMES = 65_536
"""How many frames a decoder reads at once: 4 s at 16 kHz, 2 MiB for 8 channels."""
MAX_DURATION_S = 12 * 3600.0
"""Longer recordings are refused: one that is 12 h long has 1,440 pieces, an hour's work or more."""
MAX_CHANNELS = 8
MIN_RATE = 4_000
MAX_RATE = 384_000


@dataclass(frozen=True)
class Segment:
    """A stretch of sound of one sample rate."""

    rate: int
    """Sample rate in Hz."""
    channels: int
    read: Callable[[], Iterator[Block]]
    """Decode from the start, in blocks; may be called again. Raises
    :class:`~ugsd_sdk.errors.UnreadableAudio` for damage, as soon as it is found."""
    frames: int | None = None
    """The length that the header states; ``None`` where it states none."""

    def __post_init__(self) -> None:
        check_rate(self.rate)
        check_channels(self.channels)
        if self.frames is not None:
            check_duration(self.frames / self.rate)


def check_rate(rate: int) -> None:
    """Raise :class:`BadSamples` for a sample rate that no recording of a voice has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadSamples(f"a sample rate of {rate} Hz: use {MIN_RATE} to {MAX_RATE} Hz")


def check_channels(channels: int) -> None:
    """Raise :class:`BadSamples` for no channel and for too many."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadSamples(
            f"{channels} channels: give 1 to {MAX_CHANNELS}, shaped (samples, channels)"
        )


def check_duration(duration_s: float) -> None:
    """Raise :class:`AudioTooLong` beyond :data:`MAX_DURATION_S`."""
    if duration_s > MAX_DURATION_S:
        raise AudioTooLong(
            f"the recording lasts {duration_s / 3600:.1f} h: give at most "
            f"{MAX_DURATION_S / 3600:.0f} h, cut for example by "
            "`ffmpeg -i long.wav -f segment -segment_time 3600 part%03d.wav`"
        )
