"""Speech found as it comes: samples in, utterances out.

No input or output: :meth:`Segmenter.push` takes samples in chunks of any size and returns what they
show. The result does not depend on the sizes of the chunks, and memory is bounded by
``max_segment_s``. The same windows, hysteresis, margins and edges as for whole recordings
(:mod:`~ugsd_sdk.speech.spans`) are used; only the level is that of the past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.errors import ConfigError
from ugsd_sdk.speech.loud_sounds import LoudSounds
from ugsd_sdk.speech.running_level import RunningLevel
from ugsd_sdk.speech.sample_buffer import SampleBuffer
from ugsd_sdk.speech.spans import (
    END_PAUSE_S,
    MARGIN_WINDOWS,
    MAX_SEGMENT_S,
    MIN_SPEECH_S,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Speech,
    UtteranceTracker,
    tightened,
)
from ugsd_sdk.speech.voice_activity import (
    CONTEXT_SAMPLES,
    LOUDEST_WINDOW_RMS,
    WARM_UP_WINDOWS,
    DetectorState,
)

__all__ = [
    "RECORDING_WINDOWS_PER_CALL",
    "Segmenter",
    "SegmenterEvent",
    "SpeechSegment",
    "SpeechStarted",
    "WindowDetector",
    "check_pauses",
    "window_detector",
]

Float32 = NDArray[np.float32]

WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
MIN_END_PAUSE_S = 2 * MARGIN_WINDOWS * WINDOW_S
MIN_MAX_SEGMENT_S = 4.0
WINDOWS_PER_CALL = 2
"""Windows that the detector reads at once in a stream: 64 ms."""
RECORDING_WINDOWS_PER_CALL = 64
"""In a recording, where nobody waits for what was just spoken."""
_RELEASES_DB_PER_S = (15.0, 1.0)
"""The detector reads a stream at two levels. One falls fast, so that a quiet voice is found after a
loud sound. At the other, quiet rooms stay quiet: noise that is scaled up makes the detector deaf
for seconds. The higher probability of speech counts."""
_QUIET_LEVEL = 0.03
"""Share, -30 dB, of the stream's level below which a window is quiet."""
_REST_WINDOWS = 8
"""In the quiet the detector forgets what it heard after a quarter of a second: loud noise would
make it deaf for longer."""
_MAX_DOUBT_WINDOWS = 32
"""An utterance waits a second for a sound that may be its continuation."""
_QUIET_WINDOWS = 5
"""Long speech is cut within the quietest sixth of a second."""
_UNCUT_WINDOWS = 32
"""It is not cut within a second of its end, so that a part is long enough to be captioned."""
_EDGE_CONTEXT_SAMPLES = 80
"""Samples around an utterance that the level of its edges depends on."""


@runtime_checkable
class WindowDetector(Protocol):
    """Finds speech window by window, as
    :class:`~ugsd_sdk.speech.voice_activity.VoiceActivityDetector` does."""

    def read_windows(
        self, windows: Float32, state: DetectorState | None
    ) -> tuple[Float32, DetectorState]:
        """Return the probability of speech (m,) in ``windows`` (m, 576) and the next state."""

    def find_shouts(self, recording: Float32) -> Speech:
        """Return where ``recording`` (n,), a loud sound that is no plain speech, holds shouts."""


def window_detector(detector: object) -> WindowDetector:
    """Return ``detector``. Raises :class:`ConfigError` for one that cannot read windows."""
    if not isinstance(detector, WindowDetector):
        raise ConfigError(
            f"{type(detector).__name__} reads whole clips only: a detector for streams and long "
            "recordings has the methods read_windows() and find_shouts(), as VoiceActivityDetector "
            "does"
        )
    return detector


@dataclass(frozen=True)
class SpeechStarted:
    """Someone speaks. If it turns out to be too short to describe, no segment follows."""

    at_s: float
    """Seconds from the start of the stream."""


@dataclass(frozen=True)
class SpeechSegment:
    """One utterance, or a part of speech that lasted too long."""

    start_s: float
    """Seconds from the start of the stream."""
    end_s: float
    samples: Float32 = field(repr=False, compare=False)
    """Mono (n,) at 16 kHz."""
    is_cut: bool = False
    """Whether it was cut before its end, and speech goes on in the next segment."""


SegmenterEvent: TypeAlias = SpeechStarted | SpeechSegment


class Segmenter:
    """Cuts a stream of mono float32 samples at 16 kHz into utterances.

    An utterance ends with a pause of ``end_pause_s`` seconds, at least .2. Speech without one is
    cut at its quietest moment before ``max_segment_s``, at least 4. Utterances with less than
    ``min_speech_s`` are dropped. ``windows_per_call`` windows of 32 ms go through the detector at
    once: more cost less, but are noticed later.

    Raises :class:`ConfigError` for numbers out of range.
    """

    def __init__(
        self,
        detector: WindowDetector,
        *,
        end_pause_s: float = END_PAUSE_S,
        max_segment_s: float = MAX_SEGMENT_S,
        min_speech_s: float = MIN_SPEECH_S,
        windows_per_call: int = WINDOWS_PER_CALL,
    ) -> None:
        check_pauses(end_pause_s, max_segment_s)
        _check("min_speech_s", min_speech_s, 0)
        _check("windows_per_call", windows_per_call, 1)
        self._detector = detector
        self._end_pause_windows = round(end_pause_s / WINDOW_S)
        self._max_windows = int(max_segment_s / WINDOW_S)
        self._min_samples = min_speech_s * SAMPLE_RATE
        self._levels = [RunningLevel(release) for release in _RELEASES_DB_PER_S]
        self._block = np.zeros(windows_per_call * WINDOW_SAMPLES, np.float32)
        self._num_waiting = 0
        self._buffer = SampleBuffer()
        self._begin_at(0)

    @property
    def position_s(self) -> float:
        """Seconds that were pushed and skipped so far."""
        return (self._buffer.end + self._num_waiting) / SAMPLE_RATE

    @property
    def utterance_s(self) -> tuple[float, float] | None:
        """Start and end of the utterance in hand, as far as it is known, in seconds; ``None``
        between utterances."""
        if self._tracker.begin is None:
            return None
        start, end = self._start_of(self._tracker.begin), self._sample(self._tracker.end)
        return start / SAMPLE_RATE, end / SAMPLE_RATE

    def utterance(self, last_s: float = math.inf) -> Float32:
        """Return the samples (n,) of the utterance in hand, of which at most the last ``last_s``
        seconds; none between utterances."""
        if self._tracker.begin is None:
            return np.zeros(0, np.float32)
        start, end = self._start_of(self._tracker.begin), self._sample(self._tracker.end)
        if end - start > last_s * SAMPLE_RATE:
            start = end - round(last_s * SAMPLE_RATE)
        return self._buffer.between(start, end).copy()

    def push(self, samples: Float32) -> list[SegmenterEvent]:
        """Add ``samples`` (n,), finite, and return what they show."""
        events: list[SegmenterEvent] = []
        while len(samples):
            room = self._block.size - self._num_waiting
            taken, samples = samples[:room], samples[room:]
            self._block[self._num_waiting : self._num_waiting + len(taken)] = taken
            self._num_waiting += len(taken)
            if self._num_waiting == self._block.size:
                self._buffer.append(self._block)
                self._num_waiting = 0
                self._read(self._block, events)
        return events

    def finish(self) -> list[SegmenterEvent]:
        """End the utterance in hand, and return what is left. More may be pushed afterwards."""
        events: list[SegmenterEvent] = []
        rest = self._block[: self._num_waiting].copy()
        self._buffer.append(rest)
        self._num_waiting = 0
        silence = np.zeros(-len(rest) % WINDOW_SAMPLES, np.float32)
        if len(rest):
            self._read(np.concatenate([rest, silence]), events)
        self._read(np.zeros(WARM_UP_WINDOWS * WINDOW_SAMPLES, np.float32), events)
        self._add(self._tracker.finish(), events)
        self._add_shout(self._sounds.take(), events)
        self._begin_at(self._buffer.end)
        return events

    def skip(self, num_samples: int) -> list[SegmenterEvent]:
        """End the utterance in hand and go on after ``num_samples`` that are missing."""
        events = self.finish()
        self._begin_at(self._buffer.end + num_samples)
        return events

    def _begin_at(self, sample: int) -> None:
        self._tracker = UtteranceTracker(self._end_pause_windows)
        self._sounds = LoudSounds(self._end_pause_windows)
        self._segment_end = sample
        self._origin = sample - WARM_UP_WINDOWS * WINDOW_SAMPLES
        self._buffer.restart(sample)
        self._num_waiting = 0
        self._is_announced = False
        self._states: list[DetectorState | None] = [None] * len(self._levels)
        self._fresh: list[DetectorState | None] | None = None
        self._num_quiet = 0
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._read(np.zeros(WARM_UP_WINDOWS * WINDOW_SAMPLES, np.float32), [])

    def _sample(self, window: int) -> int:
        """Return the first sample of ``window`` in the stream."""
        return min(max(self._origin + window * WINDOW_SAMPLES, 0), self._buffer.end)

    def _read(self, block: Float32, events: list[SegmenterEvent]) -> None:
        """Read whole windows (n,), whose samples are in the buffer unless they are silence."""
        own = block.reshape(-1, WINDOW_SAMPLES)
        windows = np.empty((len(own), CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        windows[:, CONTEXT_SAMPLES:] = own
        windows[0, :CONTEXT_SAMPLES] = self._context
        windows[1:, :CONTEXT_SAMPLES] = own[:-1, -CONTEXT_SAMPLES:]
        self._context = own[-1, -CONTEXT_SAMPLES:].copy()
        rms = own.std(axis=1, dtype=np.float64).tolist()  # a constant offset is no sound
        levels: list[float] = []
        probabilities = np.zeros(len(own), np.float32)
        is_asleep = self._is_resting() and not windows.any()
        for number, level in enumerate(self._levels):
            levels = list(level.after(rms))
            if is_asleep:  # the detector would say that there is no speech
                continue
            gains = [LOUDEST_WINDOW_RMS / one for one in levels]
            scaled = windows * np.array(gains, np.float32)[:, None]
            found, self._states[number] = self._detector.read_windows(scaled, self._states[number])
            probabilities = np.maximum(probabilities, found)
        is_quiet = max(rms) < _QUIET_LEVEL * levels[-1]
        self._num_quiet = self._num_quiet + len(own) if is_quiet else 0
        for probability, *loudness in zip(probabilities.tolist(), rms, levels, strict=True):
            self._advance(probability, events)
            is_speech = self._tracker.begin is not None
            self._add_shout(self._sounds.push(*loudness, is_speech=is_speech), events)
        if self._fresh is None:
            self._fresh = list(self._states)
        elif self._is_resting():
            self._states = list(self._fresh)
        self._forget()

    def _is_resting(self) -> bool:
        """Whether the detector has forgotten what it heard, after enough quiet."""
        return self._num_quiet >= _REST_WINDOWS and self._tracker.run_start is None

    def _advance(self, probability: float, events: list[SegmenterEvent]) -> None:
        tracker = self._tracker
        self._add(tracker.push(probability), events)
        if tracker.begin is None:
            return
        if not self._is_announced and tracker.is_speaking:
            self._is_announced = True
            events.append(SpeechStarted(self._start_of(tracker.begin) / SAMPLE_RATE))
        doubt = 0 if tracker.run_start is None else tracker.num_windows - tracker.run_start
        is_full = tracker.num_windows - tracker.begin >= self._max_windows
        if not tracker.is_speaking and (is_full or doubt > _MAX_DOUBT_WINDOWS):
            self._add(tracker.take(), events)
        elif is_full:
            self._add(tracker.take(self._quietest(tracker.begin)), events, is_cut=True)

    def _add(
        self, span: tuple[int, int] | None, events: list[SegmenterEvent], *, is_cut: bool = False
    ) -> None:
        if span is not None:
            self._is_announced = False
            self._add_samples(self._start_of(span[0]), self._sample(span[1]), is_cut, events)

    def _add_shout(self, sound: tuple[int, int] | None, events: list[SegmenterEvent]) -> None:
        if sound is None:
            return
        first = max(self._start_of(sound[0] - MARGIN_WINDOWS), self._segment_end)
        samples = self._buffer.between(first, self._sample(sound[1] + MARGIN_WINDOWS)).copy()
        found = self._detector.find_shouts(samples)
        if found.is_enough:
            start, end = first + found.spans[0][0], first + found.spans[-1][1]
            events.append(SpeechStarted(start / SAMPLE_RATE))
            self._add_samples(start, end, False, events)

    def _add_samples(
        self, start: int, end: int, is_cut: bool, events: list[SegmenterEvent]
    ) -> None:
        around = max(start - _EDGE_CONTEXT_SAMPLES, self._buffer.start)
        samples = self._buffer.between(around, end + _EDGE_CONTEXT_SAMPLES)
        speech = tightened(Speech(((start - around, end - around),), len(samples)), samples)
        first, last = speech.spans[0]
        if last - first >= self._min_samples:
            self._sounds.drop()
            self._segment_end = around + last
            segment = SpeechSegment(
                (around + first) / SAMPLE_RATE, (around + last) / SAMPLE_RATE,
                samples[first:last].copy(), is_cut,
            )  # fmt: skip
            events.append(segment)

    def _start_of(self, window: int) -> int:
        return max(self._sample(window), self._buffer.start)

    def _quietest(self, begin: int) -> int:
        """Return the window in the quietest moment of the second half of the utterance in hand."""
        first, last = begin + self._max_windows // 2, begin + self._max_windows - _UNCUT_WINDOWS
        samples = self._buffer.between(self._sample(first), self._sample(last))
        powers = np.mean(np.square(samples, dtype=np.float64).reshape(-1, WINDOW_SAMPLES), axis=1)
        moments = np.convolve(powers, np.ones(_QUIET_WINDOWS), mode="valid")
        return first + int(np.argmin(moments)) + _QUIET_WINDOWS // 2

    def _forget(self) -> None:
        """Drop the samples that no utterance can begin with any more."""
        tracker = self._tracker
        oldest = tracker.num_windows
        if tracker.begin is not None:
            oldest = tracker.begin
        elif tracker.run_start is not None:
            oldest = max(tracker.run_start, tracker.num_windows - self._max_windows // 2)
        if self._sounds.start is not None:
            oldest = min(oldest, self._sounds.start)
        oldest_sample = self._sample(oldest - MARGIN_WINDOWS) - _EDGE_CONTEXT_SAMPLES
        self._buffer.forget_before(oldest_sample)


_MOST_S = 86_400.0


def check_pauses(end_pause_s: float, max_segment_s: float) -> None:
    """Raise :class:`ConfigError` for numbers that a :class:`Segmenter` refuses."""
    _check("end_pause_s", end_pause_s, MIN_END_PAUSE_S)
    _check("max_segment_s", max_segment_s, MIN_MAX_SEGMENT_S)


def _check(name: str, value: float, least: float) -> None:
    if not (isinstance(value, (int, float)) and least <= value <= _MOST_S):
        raise ConfigError(f"{name} must be a number of {least:g} to {_MOST_S:g}, not {value!r}")
