"""``ugsd-lab bench stream``: what a stream costs, and whether it finds what was said.

Real clips with pauses between them, half of which hold a sound without a voice, are pushed in
chunks of 20 ms, faster than real time. What is found is compared with the offline detector's
utterances of each clip in its surroundings.
"""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.speech.spans import END_PAUSE_S, SAMPLE_RATE
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector
from ugsd_sdk.streams.chunks import MonoChunk
from ugsd_sdk.streams.events import DraftCaption, FinalCaption, StreamEvent
from ugsd_sdk.streams.utterance_captions import StreamOptions, UtteranceCaptions

from ugsd_lab.bench.figures import Figure, percentile
from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.data.sounds import SOUNDS, draw_sound
from ugsd_lab.models.embeddings import Progress

__all__ = ["Found", "Utterances", "bench_stream"]

Float32 = NDArray[np.float32]
_Span = tuple[float, float]

_CHUNK_SAMPLES = 320
_PAUSE_S = (1.4, 6.0)
_QUIET_S = 0.7
"""Silence on both sides of a clip, which its surroundings are cut from."""
_SOUND_SHARE = 0.5
_GAIN_DB = (-20.0, 0.0)
_ROOM_RMS = 1e-4
"""Noise of the room: -80 dBFS."""
_WARM_MINUTES = 5


@dataclass
class Utterances:
    """Reads clips with pauses between them, and remembers where the last ones were placed."""

    clips: Sequence[Clip]
    seed: int = 0
    placed: deque[tuple[int, Float32]] = field(default_factory=deque)
    """First sample of the surroundings of each clip that was not compared yet, and they."""

    def pieces(self, minutes: float) -> Iterator[Float32]:
        """Yield a clip with half of the pauses around it, until there are ``minutes``."""
        rng = np.random.default_rng(self.seed)
        at = 0
        while at < 60 * minutes * SAMPLE_RATE:
            clip = read_samples(self.clips[int(rng.integers(len(self.clips)))])
            clip *= np.float32(10 ** (rng.uniform(*_GAIN_DB) / 20))
            quiet = np.zeros(round(_QUIET_S * SAMPLE_RATE), np.float32)
            around = np.concatenate([quiet, clip, quiet])
            around += _ROOM_RMS * rng.standard_normal(len(around)).astype(np.float32)
            self.placed.append((at, around))
            pause = _pause(rng)
            at += len(around) + len(pause)
            yield np.concatenate([around, pause])


def _pause(rng: np.random.Generator) -> Float32:
    duration_s = rng.uniform(*_PAUSE_S) - 2 * _QUIET_S
    kind = list(SOUNDS)[int(rng.integers(len(SOUNDS)))]
    has_sound = rng.random() < _SOUND_SHARE
    num_samples = round(duration_s * SAMPLE_RATE)
    noise = _ROOM_RMS * rng.standard_normal(num_samples).astype(np.float32)
    return noise + draw_sound(kind, duration_s, rng)[:num_samples] if has_sound else noise


@dataclass
class Found:
    """How the utterances of a stream compare with those that the offline detector finds."""

    utterances: int = 0
    lost: int = 0
    doubled: int = 0
    """Utterances that became more than one segment."""
    joined: int = 0
    """Utterances that are in one segment with the one before."""
    extra: int = 0
    """Segments in which there is no clip."""
    start_errors_s: list[float] = field(default_factory=list)
    end_errors_s: list[float] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    """From the end of an utterance, as found offline, to its final caption."""

    def compare(
        self, offline: Sequence[_Span], online: Sequence[tuple[FinalCaption, float]], around: _Span
    ) -> None:
        """Compare the utterances of one clip, which is somewhere in ``around``, with the final
        captions that begin before its end and the times at which they came."""
        last: FinalCaption | None = None
        for start_s, end_s in offline:
            own = [
                (final, at_s)
                for final, at_s in online
                if final.start_s < end_s and final.end_s > start_s
            ]
            self.utterances += 1
            self.lost += not own
            self.doubled += len(own) > 1
            if not own:
                continue
            if own[0][0] is last:  # a pause that lasts just long enough for one of both
                self.joined += 1
                self.end_errors_s.pop()
                self.delays_s.pop()
            else:
                self.start_errors_s.append(abs(own[0][0].start_s - start_s))
            last, at_s = own[-1]
            self.end_errors_s.append(abs(last.end_s - end_s))
            self.delays_s.append(at_s - end_s)
        self.extra += sum(
            final.start_s >= around[1] or final.end_s <= around[0] for final, _ in online
        )


def bench_stream(data: Path | None, minutes: float, progress: Progress) -> list[Figure]:
    """Stream ``minutes`` of the test clips of the corpora in ``data``, without it of EMO-DB alone,
    on one core. Memory is read from Linux's ``/proc``."""
    clips = [clip for clip in load_corpora(data) if clip.split == "test"]
    with _one_core(), Captioner() as captioner:
        caption = captioner._utterance_captioner(None, CaptionOptions())
        captions = UtteranceCaptions(VoiceActivityDetector(), caption, StreamOptions())
        run = _Run(Utterances(clips), captions)
        for piece in run.source.pieces(minutes):
            run.push(piece)
            progress("streaming", round(run.position_s / 60), round(minutes), "")
        run.finish()
    return run.figures()


class _Run:
    """One stream, and what was measured of it."""

    def __init__(self, source: Utterances, captions: UtteranceCaptions) -> None:
        self.source = source
        self.found = Found()
        self._captions = captions
        self._detector = VoiceActivityDetector()
        self._finals: list[tuple[FinalCaption, float]] = []
        self._num_drafts = 0
        self._position = 0
        self._spent_s = 0.0
        self._warm: _Memory | None = None

    @property
    def position_s(self) -> float:
        """Seconds that were pushed."""
        return self._position / SAMPLE_RATE

    def push(self, piece: Float32) -> None:
        """Push ``piece`` in chunks, and compare the utterances whose captions are due."""
        for at in range(0, len(piece), _CHUNK_SAMPLES):
            chunk = MonoChunk(piece[at : at + _CHUNK_SAMPLES], SAMPLE_RATE, None)
            self._position += len(chunk.samples)
            self._take(self._captions.push(chunk))
        self._compare(before_s=self.position_s - _PAUSE_S[1] - END_PAUSE_S)
        if self._warm is None and self.position_s >= 60 * _WARM_MINUTES:
            self._warm = _Memory.now()

    def finish(self) -> None:
        """End the stream."""
        self._take(self._captions.finish())
        self._compare(before_s=math.inf)

    def figures(self) -> list[Figure]:
        """Return what was measured."""
        found, minutes = self.found, self.position_s / 60
        now, warm = _Memory.now(), self._warm or _Memory(math.nan, math.nan)
        return [
            Figure("simulated", minutes, "min"),
            Figure("real-time factor on one core", self._spent_s / self.position_s, "", 0.05),
            Figure("drafts a minute", self._num_drafts / minutes, ""),
            Figure("peak memory, with the corpora", now.peak_mb, "MB"),
            Figure(f"  growth after minute {_WARM_MINUTES}", now.peak_mb - warm.peak_mb, "MB"),
            Figure(
                f"growth of memory in use after minute {_WARM_MINUTES}",
                now.used_mb - warm.used_mb,
                "MB",
                2,
            ),
            Figure("utterances found offline", found.utterances, ""),
            Figure("utterances lost", found.lost, "", 0),
            Figure("utterances doubled", found.doubled, "", 0),
            Figure("utterances joined to the one before", found.joined, ""),
            Figure("segments without speech", found.extra, ""),
            *_quantiles("error of starts", found.start_errors_s, 0.3),
            *_quantiles("error of ends", found.end_errors_s, 0.3),
            *_quantiles("delay of final captions", found.delays_s, None),
        ]

    def _take(self, events: Iterator[StreamEvent]) -> None:
        began_s, cpu_s = perf_counter(), process_time()
        for event in events:
            if isinstance(event, FinalCaption):
                self._finals.append((event, self.position_s + perf_counter() - began_s))
            self._num_drafts += isinstance(event, DraftCaption)
        self._spent_s += process_time() - cpu_s

    def _compare(self, before_s: float) -> None:
        """Compare the clips that ended before ``before_s``, whose captions must have come."""
        placed = self.source.placed
        while placed and placed[0][0] + len(placed[0][1]) < before_s * SAMPLE_RATE:
            first, around = placed.popleft()
            start_s, end_s = first / SAMPLE_RATE, (first + len(around)) / SAMPLE_RATE
            offline = [(start_s + a, start_s + b) for a, b in self._detector.find(around).spans_s]
            own = [one for one in self._finals if one[0].start_s < end_s]
            self._finals = [one for one in self._finals if one[0].start_s >= end_s]
            self.found.compare(offline, own, (start_s, end_s))


def _quantiles(name: str, values: Sequence[float], goal: float | None) -> list[Figure]:
    if not values:
        return [Figure(f"{name}, p50", math.nan, "s")]
    return [
        Figure(f"{name}, p50", percentile(values, 50), "s"),
        Figure(f"{name}, p95", percentile(values, 95), "s"),
        Figure(f"{name}, largest", max(values), "s", goal),
    ]


@dataclass(frozen=True)
class _Memory:
    """Resident memory of this process, in megabytes."""

    used_mb: float
    peak_mb: float

    @classmethod
    def now(cls) -> _Memory:
        status = Path("/proc/self/status").read_text("ascii")
        sizes = dict(re.findall(r"(Vm(?:RSS|HWM)):\s*(\d+) kB", status))
        return cls(*(int(sizes[name]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")))


@contextmanager
def _one_core() -> Iterator[None]:
    """Run the block on the first of the cores that this process may use, where that can be set."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
