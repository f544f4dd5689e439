"""The speech of a recording, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.speech.spans import Speech

__all__ = ["SpeechDetector", "SpeechReader", "WholeRecording"]

Float32 = NDArray[np.float32]


class SpeechDetector(Protocol):
    """Finds speech in recordings.

    :class:`~ugsd_sdk.speech.voice_activity.VoiceActivityDetector` is the one that is used unless an
    application brings its own.
    """

    def load(self) -> None:
        """Read what is needed. Called before the first :meth:`find`; harmless if repeated."""

    def find(self, recording: Float32) -> Speech:
        """Return where ``recording``, mono (n,) at 16 kHz, holds speech."""

    def close(self) -> None: ...


class WholeRecording:
    """A detector that takes everything for speech: for recordings that were cut to it before."""

    def load(self) -> None: ...

    def find(self, recording: Float32) -> Speech:
        """Return one span that holds all of ``recording``."""
        return Speech(((0, len(recording)),), len(recording))

    def close(self) -> None: ...


class SpeechReader:
    """Iterates over the speech in the pieces of a recording, skipping those without enough of it.

    :attr:`speech` describes all pieces that were read so far.
    """

    def __init__(self, pieces: Iterable[Float32], detector: SpeechDetector) -> None:
        """``pieces`` are consecutive, mono (n,) float32 at 16 kHz."""
        self._pieces = pieces
        self._detector = detector
        self._spans: list[tuple[int, int]] = []
        self._num_samples = 0

    @property
    def speech(self) -> Speech:
        """Where the recording, as far as it was read, holds speech."""
        return Speech(tuple(self._spans), self._num_samples)

    def __iter__(self) -> Iterator[Float32]:
        for piece in self._pieces:
            found = self._detector.find(piece)
            if found.is_enough:
                before = self._num_samples
                self._spans += [(before + start, before + end) for start, end in found.spans]
            self._num_samples += len(piece)
            if found.is_enough:
                yield found.samples(piece)
