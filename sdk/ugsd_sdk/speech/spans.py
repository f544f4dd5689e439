"""Speech as spans of a recording, and the samples in them.

A voice activity detector (:mod:`~ugsd_sdk.speech.voice_activity`) gives a probability of speech for
each window of 32 ms. Here they become spans, with hysteresis, and the samples of the spans are
joined: silence and noise before, after and between utterances are dropped, pauses within one stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_SPEECH_S", "WINDOW_SAMPLES", "Speech", "find_spans"]

Float32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 512
"""Samples of one detector window: 32 ms."""
MIN_SPEECH_S = 0.2
"""With less speech in all, there is no voice to describe."""

_ONSET, _RELEASE = 0.5, 0.35
"""Speech starts at one probability and goes on until it falls below the other."""
_MIN_WINDOWS = 3
"""A shorter run is a click or a knock."""
_MARGIN_WINDOWS = 3
"""Kept on both sides of a run, since quiet consonants begin and end words."""
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

    def samples(self, recording: Float32) -> Float32:
        """Return the speech of ``recording`` (n,), its utterances joined."""
        if not self.spans:
            return recording[:0]
        return np.concatenate([recording[start:end] for start, end in self.spans])


def find_spans(probabilities: NDArray[np.float32], num_samples: int) -> Speech:
    """Turn the probabilities (m,) of consecutive windows of ``num_samples`` samples into spans."""
    spans: list[tuple[int, int]] = []
    for start, end in _runs(probabilities):
        if end - start < _MIN_WINDOWS:
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


def _runs(probabilities: Sequence[float] | NDArray[np.float32]) -> list[tuple[int, int]]:
    """First window and the one after the last of each run of speech."""
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
