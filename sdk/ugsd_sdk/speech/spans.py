"""Speech as spans of a recording, and the samples in them.

A voice activity detector (:mod:`~ugsd_sdk.speech.voice_activity`) gives a probability of speech for
each window of 32 ms. Here they become spans, with hysteresis and a margin, from whose edges quiet
is cut. Silence and noise farther before, after and between utterances are dropped; short
pauses within one stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MIN_SPEECH_S",
    "SAMPLE_RATE",
    "WINDOW_SAMPLES",
    "Speech",
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
_MARGIN_WINDOWS = 3
"""Kept on both sides of a run, a tenth of a second, for consonants that the detector misses."""
_EDGE_SAMPLES = 160
_EDGE_LEVEL = 0.03
"""A span begins and ends where 10 ms have this share, -30 dB, of its loudest ones' level."""
_MAX_PAUSE_WINDOWS = 10
"""Runs that are closer than this, margins taken off, are one utterance with a pause in it."""


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


def find_spans(probabilities: NDArray[np.float32], num_samples: int) -> Speech:
    """Turn the probabilities (m,) of consecutive windows of ``num_samples`` samples into spans."""
    spans: list[tuple[int, int]] = []
    for start, end in _runs(probabilities):
        if np.count_nonzero(probabilities[start:end] >= _CERTAIN) < _MIN_CERTAIN_WINDOWS:
            continue
        begin, stop = max(start - _MARGIN_WINDOWS, 0), end + _MARGIN_WINDOWS
        if spans and begin - spans[-1][1] < _MAX_PAUSE_WINDOWS:
            begin = spans.pop()[0]
        spans.append((begin, stop))
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


def _runs(probabilities: Sequence[float] | NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the first window of each run of speech, and the one after its last."""
    runs: list[tuple[int, int]] = []
    start: int | None = None
    for index, probability in enumerate(probabilities):
        if start is None and probability >= _ONSET:
            start = index
        elif start is not None and probability < _RELEASE:
            runs.append((start, index))
            start = None
    if start is not None:
        runs.append((start, len(probabilities)))
    return runs
