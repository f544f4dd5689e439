"""A detector, a captioner and a live source for tests of streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption.caption import Caption
from ugsd_sdk.speech.spans import SAMPLE_RATE
from ugsd_sdk.speech.voice_activity import CONTEXT_SAMPLES
from ugsd_sdk.streams.chunks import AudioChunk
from ugsd_sdk.streams.utterance_captions import StreamOptions, UtteranceCaptions

from tests.doubles.captions import sample_caption

__all__ = ["FakeCaptioner", "LoudDetector", "PushedSource", "in_chunks", "silence", "speech"]

Float32 = NDArray[np.float32]


def speech(seconds: float) -> Float32:
    return np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)


def silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def in_chunks(samples: Float32, size: int = 320) -> Iterator[Float32]:
    """Yield ``samples`` (n,) in chunks of 20 ms, or of another ``size``."""
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


class LoudDetector:
    """Takes every window that is not silent for speech."""

    def read_windows(self, windows: Float32, state: object) -> tuple[Float32, object]:
        return windows[:, CONTEXT_SAMPLES:].any(axis=1).astype(np.float32), state


class FakeCaptioner:
    """Remembers the seconds of speech that it captioned."""

    def __init__(self) -> None:
        self.finals: list[float] = []
        self.drafts: list[float] = []
        self.threads: set[int] = set()
        self._caption = sample_caption()

    def __call__(
        self, samples: Float32, *, is_draft: bool = False, call: Call | None = None
    ) -> Caption:
        (self.drafts if is_draft else self.finals).append(len(samples) / SAMPLE_RATE)
        self.threads.add(threading.get_ident())
        return self._caption

    def captions(self, *, drafts: bool = True) -> UtteranceCaptions:
        """Return a state machine that this captions for."""
        return UtteranceCaptions(LoudDetector(), self, StreamOptions(drafts=drafts))


class PushedSource:
    """A live source whose chunks the test delivers."""

    deliver: Callable[[AudioChunk], None]
    end: Callable[[Exception | None], None]

    def __init__(self) -> None:
        self.is_started = threading.Event()
        self.is_stopped = False

    def start(
        self, deliver: Callable[[AudioChunk], None], end: Callable[[Exception | None], None]
    ) -> Callable[[], None]:
        self.deliver, self.end = deliver, end
        self.is_started.set()
        return self._stop

    def _stop(self) -> None:
        self.is_stopped = True
