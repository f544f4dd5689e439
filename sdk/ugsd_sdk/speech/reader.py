"""The speech of a recording, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.prosody.recording_quality import RecordingNote
from ugsd_sdk.speech.spans import Speech

__all__ = ["Meter", "SpeechDetector", "SpeechReader", "WholeRecording"]

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


class Meter(Protocol):
    """Measures the speech of one recording: a
    :class:`~ugsd_sdk.prosody.meter.ProsodyMeter`, unless an application brings its own."""

    def add(self, piece: Float32, spans: Sequence[tuple[int, int]], start: int = 0) -> None:
        """Measure ``piece`` (n,), whose first sample is sample ``start`` of the recording, in its
        ``spans`` of speech."""

    def result(self) -> Prosody | None:
        """Return the measures of what was added; ``None`` for no speech."""

    def notes(self) -> tuple[RecordingNote, ...]:
        """Return what makes these measures less certain."""


class WholeRecording:
    """A detector that takes everything for speech: for recordings that were cut to it before."""

    def load(self) -> None: ...

    def find(self, recording: Float32) -> Speech:
        """Return one span that holds all of ``recording``."""
        return Speech(((0, len(recording)),), len(recording))

    def close(self) -> None: ...


class SpeechReader:
    """Iterates over the speech in the pieces of a recording, skipping those without enough of it.

    :attr:`speech` describes all pieces that were read so far. The iteration raises a
    :class:`~ugsd_sdk.errors.CallEnded` if the current call has ended.
    """

    def __init__(
        self, pieces: Iterable[Float32], detector: SpeechDetector, meter: Meter | None = None
    ) -> None:
        """``pieces`` are consecutive, mono (n,) float32 at 16 kHz."""
        self.meter = meter or ProsodyMeter()
        """What has measured the pieces that were read so far."""
        self._pieces = pieces
        self._detector = detector
        self._spans: list[tuple[int, int]] = []
        self._num_samples = 0

    @property
    def speech(self) -> Speech:
        """Where the recording, as far as it was read, holds speech."""
        return Speech(tuple(self._spans), self._num_samples)

    def __iter__(self) -> Iterator[Float32]:
        call = current_call()
        for piece in self._pieces:
            found = self._detector.find(piece)
            call.check()
            if found.is_enough:
                before = self._num_samples
                self.meter.add(piece, found.spans, before)
                self._spans += [(before + start, before + end) for start, end in found.spans]
            self._num_samples += len(piece)
            if found.is_enough:
                yield found.samples(piece)
