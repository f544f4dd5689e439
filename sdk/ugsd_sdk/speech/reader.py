"""The speech of a recording, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.calls.core_slots import CORE_SLOTS
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.prosody.recording_quality import RecordingNote
from ugsd_sdk.speech.segmenter import (
    RECORDING_WINDOWS_PER_CALL,
    Segmenter,
    SegmenterEvent,
    SpeechSegment,
    WindowDetector,
)
from ugsd_sdk.speech.spans import MAX_SEGMENT_S, SAMPLE_RATE, Speech

__all__ = ["Meter", "SpeechDetector", "SpeechReader", "WholeRecording"]

Float32 = NDArray[np.float32]

_STEP_SAMPLES = 2 * SAMPLE_RATE
"""Samples between two looks at whether the call has ended."""
_RECENT_SAMPLES = round((MAX_SEGMENT_S + 4) * SAMPLE_RATE)
"""Samples before a piece in which the speech that ends in it may have begun."""


@runtime_checkable
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

    One piece is searched as a whole. In several pieces speech is found as in a stream, if the
    detector can do that, so that nothing depends on where one piece ends and the next begins.

    :attr:`speech` describes all pieces that were read so far. The iteration raises a
    :class:`~ugsd_sdk.errors.CallEnded` if the current call has ended.
    """

    def __init__(
        self, pieces: Iterable[Float32], detector: SpeechDetector, meter: Meter | None = None
    ) -> None:
        """``pieces`` are consecutive, mono (n,) float32 at 16 kHz, of about 30 s at most."""
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
        pieces = iter(self._pieces)
        first = list(islice(pieces, 2))
        all_pieces = chain(first, pieces)
        if len(first) > 1 and isinstance(self._detector, WindowDetector):
            return self._across(all_pieces, self._detector)
        return self._piecewise(all_pieces)

    def _piecewise(self, pieces: Iterable[Float32]) -> Iterator[Float32]:
        call = current_call()
        for piece in pieces:
            found = self._detector.find(piece)
            call.check()
            before = self._num_samples
            self._num_samples += len(piece)
            if found.is_enough:
                self._add(piece, found.spans, before)
                yield found.samples(piece)

    def _across(self, pieces: Iterable[Float32], detector: WindowDetector) -> Iterator[Float32]:
        """Yield the speech of a recording of several pieces, as it ends in each of them."""
        segmenter = Segmenter(detector, windows_per_call=RECORDING_WINDOWS_PER_CALL)
        recent = np.zeros(0, np.float32)
        measured = 0
        for piece in chain(pieces, [None]):
            events = _finished(segmenter) if piece is None else _pushed(segmenter, piece)
            if piece is not None:
                recent = np.concatenate([recent[-_RECENT_SAMPLES:], piece])
                self._num_samples += len(piece)
            segments = [one for one in events if isinstance(one, SpeechSegment)]
            if segments:
                spans = [(_sample(one.start_s), _sample(one.end_s)) for one in segments]
                spoken = segmenter.utterance_s
                begin = self._num_samples - len(recent)
                start = max(min(measured, spans[0][0]), begin)
                measured = self._num_samples if spoken is None else _sample(spoken[0])
                inside = [(first - start, end - start) for first, end in spans]
                self._add(recent[start - begin : measured - begin], inside, start)
                yield np.concatenate([one.samples for one in segments])

    def _add(self, piece: Float32, spans: Sequence[tuple[int, int]], start: int) -> None:
        self.meter.add(piece, spans, start)
        self._spans += [(start + begin, start + end) for begin, end in spans]


def _pushed(segmenter: Segmenter, piece: Float32) -> list[SegmenterEvent]:
    call = current_call()
    events: list[SegmenterEvent] = []
    for at in range(0, len(piece), _STEP_SAMPLES):
        with (holder := Lock()), CORE_SLOTS.held(holder):
            events += segmenter.push(piece[at : at + _STEP_SAMPLES])
        call.check()
    return events


def _finished(segmenter: Segmenter) -> list[SegmenterEvent]:
    with (holder := Lock()), CORE_SLOTS.held(holder):
        return segmenter.finish()


def _sample(at_s: float) -> int:
    return round(at_s * SAMPLE_RATE)
