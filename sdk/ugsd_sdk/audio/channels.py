"""The channels of a long recording, apart or mixed, in pieces and in one pass.

A recording is decoded once to see that it is sound and to measure its channels, and once more to
hand it on, whatever the number of channels; a third time if it is loud and must be resampled. All
channels are scaled by one factor, so that their levels can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from itertools import combinations
from types import TracebackType
from typing import Self

import numpy as np

from ugsd_sdk.audio.samples import (
    Clip,
    MeasuredPart,
    cut_pieces,
    disk_faults,
    measured_parts,
    opened_recording,
    scaled_blocks,
)
from ugsd_sdk.audio.segments import Float32
from ugsd_sdk.errors import BadSamples

__all__ = ["ChannelLayout", "ChannelReader"]

_TARGET_RATE = 16_000
_PIECE_S = 10.0
_SILENT_PEAK = 1e-2
"""A channel whose peak is so much lower than the loudest one's (-40 dB) holds no voice."""
_SAME_SOUND = 0.999
"""Least correlation, in absolute value, of two channels with the same sound."""


class ChannelLayout(StrEnum):
    """Whether channels are read apart or together."""

    APART = "apart"
    """Each channel holds one speaker."""
    TOGETHER = "together"
    """All channels are mixed into one."""


class ChannelReader:
    """Reads a recording's channels as pieces (n, k) at 16 kHz, in [-1, 1].

    A context manager: it opens and measures the recording, and raises an
    :class:`~ugsd_sdk.errors.AudioError` as :func:`~ugsd_sdk.audio.samples.read_pieces` does.
    """

    def __init__(
        self, recording: Clip, sample_rate: float | None = None, *, layout: ChannelLayout
    ) -> None:
        self.duration_s = 0.0
        """Seconds of the recording."""
        self.num_channels = 0
        """Channels of the recording."""
        self.silent: tuple[int, ...] = ()
        """Channels, counted from 0, that are silent beside the loudest one. They are not read."""
        self.is_same = False
        """Whether several channels hold one sound, as in mono that was saved as stereo. Only the
        loudest one is read."""
        self.kept: tuple[int, ...] = ()
        """The channels that are read; the pieces' columns are in this order. Empty if all are read
        as one."""
        self._recording, self._sample_rate, self._layout = recording, sample_rate, layout
        self._parts: list[MeasuredPart] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with disk_faults(), ExitStack() as stack:
            segments = stack.enter_context(opened_recording(self._recording, self._sample_rate))
            self._parts = measured_parts(segments, _PIECE_S, _TARGET_RATE)
            self.duration_s = sum(part.duration_s for part in self._parts)
            self._choose_channels()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._parts = []
        self._stack.close()

    def pieces(self) -> Iterator[Float32]:
        """Yield the recording as pieces (n, k) of 10 s, the last one shorter."""
        with disk_faults():
            blocks = scaled_blocks(self._parts, _TARGET_RATE)
            for piece in cut_pieces(blocks, _PIECE_S, _TARGET_RATE, join_s=0.0):
                yield piece.reshape(len(piece), -1)

    def _choose_channels(self) -> None:
        counts = {part.segment.channels for part in self._parts}
        self.num_channels = max(counts)
        if self._layout is ChannelLayout.TOGETHER or counts == {1}:
            return
        if len(counts) > 1:
            raise BadSamples(
                "the number of channels changes within the recording: read them together, or cut "
                "the recording where it changes"
            )
        peaks = np.max([part.statistics.peaks() for part in self._parts], axis=0)
        loudest = float(peaks.max())
        sounding = [index for index, peak in enumerate(peaks) if peak > _SILENT_PEAK * loudest]
        sounding = sounding or [0]
        self.silent = tuple(index for index in range(self.num_channels) if index not in sounding)
        self.is_same = len(sounding) > 1 and all(
            _has_same_sound(part, sounding) for part in self._parts
        )
        kept = [max(sounding, key=lambda index: peaks[index])] if self.is_same else sounding
        self.kept = tuple(kept)
        self._parts = [
            part._replace(mix=part.statistics.apart(kept), peak=None) for part in self._parts
        ]


def _has_same_sound(part: MeasuredPart, channels: Sequence[int]) -> bool:
    covariance = part.statistics.covariance()
    energy = np.diag(covariance)
    return all(
        abs(covariance[a, b]) >= _SAME_SOUND * np.sqrt(energy[a] * energy[b])
        for a, b in combinations(channels, 2)
    )
