"""Speech as spans of a recording, and the samples in them.

A voice activity detector (:mod:`~ugsd_sdk.speech.voice_activity`) gives a probability of speech for
each window of 32 ms. Here they become spans, with hysteresis and a margin, from whose edges quiet
is cut. Silence and noise farther before, after and between utterances are dropped; short
pauses within one stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "END_PAUSE_S",
    "END_PAUSE_WINDOWS",
    "MARGIN_WINDOWS",
    "MAX_SEGMENT_S",
    "MIN_SPEECH_S",
    "SAMPLE_RATE",
    "WINDOW_SAMPLES",
    "Speech",
    "UtteranceTracker",
    "find_spans",
    "loud_duration_s",
    "tightened",
]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 512
"""Samples of one detector window: 32 ms."""
MIN_SPEECH_S = 0.2
"""With less speech in all, there is no voice to describe."""

_ONSET, _RELEASE = 0.5, 0.35
"""Speech starts at one probability and goes on until it falls below the other."""
_CERTAIN, _MIN_CERTAIN_WINDOWS = 0.8, 4
"""A run with fewer windows of that probability is no voice, but a click, a knock, or the onset of a
tone, of hum or of music, which reach about 0.7."""
MARGIN_WINDOWS = 3
"""Kept on both sides of a run, a tenth of a second, for consonants that the detector misses."""
END_PAUSE_WINDOWS = 16
END_PAUSE_S = END_PAUSE_WINDOWS * WINDOW_SAMPLES / SAMPLE_RATE
"""An utterance ends with a pause of half a second; a shorter one is a pause in it."""
MAX_SEGMENT_S = 30.0
"""In a stream, speech that lasts longer without a pause is cut."""
_EDGE_SAMPLES = 160
_EDGE_LEVEL = 0.03
"""A span begins and ends where 10 ms have this share, -30 dB, of its loudest ones' level."""


@dataclass(frozen=True)
class Speech:
    """Where a recording holds speech."""

    spans: tuple[tuple[int, int], ...]
    """First sample and the one after the last of each utterance, in order, at 16 kHz."""
    num_samples: int
    """Samples of the recording."""

    @property
    def duration_s(self) -> float:
        """Seconds of speech."""
        return sum(end - start for start, end in self.spans) / SAMPLE_RATE

    @property
    def spans_s(self) -> tuple[tuple[float, float], ...]:
        """:attr:`spans` in seconds."""
        return tuple((start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in self.spans)

    @property
    def share(self) -> float:
        """Share of the recording that is speech, from 0 to 1."""
        return self.duration_s * SAMPLE_RATE / self.num_samples if self.num_samples else 0.0

    @property
    def is_enough(self) -> bool:
        """Whether there is enough speech to describe."""
        return self.duration_s >= MIN_SPEECH_S

    def within(self, start: int, num_samples: int) -> Speech:
        """Return the speech in ``num_samples`` samples from ``start`` on, counted from there."""
        cut = ((max(begin - start, 0), min(end - start, num_samples)) for begin, end in self.spans)
        return Speech(tuple(span for span in cut if span[0] < span[1]), num_samples)

    def samples(self, recording: Float32) -> Float32:
        """Return the speech of ``recording`` (n,), its utterances joined."""
        if not self.spans:
            return recording[:0]
        return np.concatenate([recording[start:end] for start, end in self.spans])


class UtteranceTracker:
    """Finds utterances in the probabilities of consecutive windows, one window at a time.

    A run of speech, with hysteresis, counts once it has enough windows of certain speech. Runs with
    less than ``end_pause_windows`` between them are one utterance, which gets a margin.
    """

    def __init__(self, end_pause_windows: int = END_PAUSE_WINDOWS) -> None:
        self._end_pause = end_pause_windows
        self._run_start: int | None = None
        self._num_certain = 0
        self._taken = 0
        self.num_windows = 0
        """Windows that were pushed."""
        self.begin: int | None = None
        """First window of the utterance in hand; ``None`` between utterances."""
        self.end = 0
        """The window after the utterance in hand, as far as it is known: while someone speaks, the
        number of windows."""

    @property
    def is_speaking(self) -> bool:
        """Whether the last window belongs to a run that counts."""
        return self._run_start is not None and self._num_certain >= _MIN_CERTAIN_WINDOWS

    @property
    def run_start(self) -> int | None:
        """First window of the run that goes on, whether it counts or not; ``None`` in a pause."""
        return self._run_start

    def push(self, probability: float) -> tuple[int, int] | None:
        """Add a window. Return the first window of the utterance that ended and the one after its
        last, if this window shows that one did."""
        index = self.num_windows
        self.num_windows += 1
        if self._run_start is None and probability >= _ONSET:
            self._run_start, self._num_certain = index, 0
        elif self._run_start is not None and probability < _RELEASE:
            if self.is_speaking:
                self.end = index + MARGIN_WINDOWS
            self._run_start = None
        finished = None
        if self._run_start is None:
            if index + 1 - self._end_pause >= self.end - MARGIN_WINDOWS:
                finished = self.take()
        else:
            finished = self._continue_run(self._run_start, probability)
        return finished

    def _continue_run(self, start: int, probability: float) -> tuple[int, int] | None:
        finished = None
        self._num_certain += probability >= _CERTAIN
        if start - self._end_pause >= self.end - MARGIN_WINDOWS and not self.is_speaking:
            finished = self.take()
        if self.is_speaking:
            if self.begin is None:
                self.begin = max(start - MARGIN_WINDOWS, self._taken)
            self.end = self.num_windows
        return finished

    def take(self, end: int | None = None) -> tuple[int, int] | None:
        """Return the utterance in hand as if it had ended, up to window ``end``, if there is one.
        What is spoken from there on belongs to the next."""
        if self.begin is None:
            return None
        begin, stop = self.begin, self.end if end is None else end
        self._taken = stop
        self.begin = stop if end is not None and self.is_speaking else None
        return begin, stop

    def finish(self) -> tuple[int, int] | None:
        """Return the utterance in hand with its margin; nothing is pushed any more."""
        if self.is_speaking:
            self.end = self.num_windows + MARGIN_WINDOWS
        return self.take()


def find_spans(probabilities: NDArray[np.float32], num_samples: int) -> Speech:
    """Turn the probabilities (m,) of consecutive windows of ``num_samples`` samples into spans."""
    tracker = UtteranceTracker()
    found = [tracker.push(probability) for probability in probabilities.tolist()]
    spans = [span for span in (*found, tracker.finish()) if span is not None]
    return Speech(
        tuple(
            (start * WINDOW_SAMPLES, min(end * WINDOW_SAMPLES, num_samples)) for start, end in spans
        ),
        num_samples,
    )


def tightened(speech: Speech, recording: Float32) -> Speech:
    """Move the edges of each span inwards to the first and last loud moment in it of ``recording``
    (n,). In steady noise that is louder than that, they stay where they are."""
    levels = _levels(recording)
    spans = []
    for start, end in speech.spans:
        span = levels[start:end]
        loud = np.flatnonzero(span >= _EDGE_LEVEL * span.max())
        spans.append((start + int(loud[0]), start + int(loud[-1]) + 1))
    return Speech(tuple(spans), speech.num_samples)


def loud_duration_s(recording: Float32) -> float:
    """Return the seconds of ``recording`` (n,) that are within 30 dB of its loudest moment."""
    levels = _levels(recording)
    loudest = float(levels.max(initial=0))
    return np.count_nonzero(levels >= _EDGE_LEVEL * loudest) / SAMPLE_RATE if loudest else 0.0


def _levels(recording: Float32) -> NDArray[np.float64]:
    """Return the root mean square (n,) of the 10 ms around each sample, silence being outside."""
    half = _EDGE_SAMPLES // 2
    padded = np.pad(np.square(recording, dtype=np.float64), half)
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    means = (sums[_EDGE_SAMPLES:] - sums[:-_EDGE_SAMPLES])[: len(recording)] / _EDGE_SAMPLES
    levels: NDArray[np.float64] = np.sqrt(np.maximum(means, 0))
    return levels
