"""The device of ``ugsd-lab bench link``, slower than this machine by declaration.

The drafter computes for real; then the thread sleeps as long as a slower device would have computed
in addition. What a device computes besides, such as the egress, is slowed as well: sealing before a
frame is sent, and the rest when the caption is complete. Waiting for the disk is not slowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from time import perf_counter, sleep, thread_time
from typing import Protocol

from ugsd_privacy.egress import SealedFrame
from ugsd_sdk.drafter import DraftSession, Prediction
from ugsd_sdk.transport.websocket import WebSocketTransport

__all__ = [
    "Device",
    "DeviceSession",
    "DeviceTransport",
    "Pace",
    "ReplayedSteps",
    "Slowdown",
    "Trace",
]

_SHORTEST_SLEEP_S = 1e-3
"""Less than that is added to the next sleep, since the system would oversleep it."""


class Pace(Protocol):
    """How much longer than this machine a device computes."""

    def more_s(self, cpu_s: float, steps: int) -> float:
        """Return the seconds that the device takes beyond the ``cpu_s`` that this machine took for
        a number of decoding ``steps``."""

    def encoding_s(self, cpu_s: float) -> float:
        """Return the seconds from the clip to the first token's probabilities, for which this
        machine computed ``cpu_s``."""


@dataclass(frozen=True)
class Slowdown:
    """A device that takes ``factor`` times as long as this machine."""

    factor: float

    def more_s(self, cpu_s: float, steps: int) -> float:
        return (self.factor - 1) * cpu_s

    def encoding_s(self, cpu_s: float) -> float:
        return self.factor * cpu_s


@dataclass(frozen=True)
class ReplayedSteps:
    """A device with the step times of a larger model, whatever this machine took."""

    first_token_s: float
    """From the clip to the first token."""
    step_s: float
    """For each later token."""

    def more_s(self, cpu_s: float, steps: int) -> float:
        return max(steps * self.step_s - cpu_s, 0.0)

    def encoding_s(self, cpu_s: float) -> float:
        return self.first_token_s


@dataclass
class Trace:
    """What happened while one caption was made. Times are those of ``perf_counter``, in seconds."""

    begun_s: float = 0.0
    """When the first draft began, which is when encoding had ended."""
    predicted_s: list[list[float]] = field(default_factory=list)
    """When each position of each draft was first predicted; a caption that is worded again has
    several drafts."""
    sent_s: list[float] = field(default_factory=list)
    """When a frame was sent."""
    verdicts_s: list[float] = field(default_factory=list)
    """When a frame of the verifier arrived."""
    paid_cpu_s: float = 0.0
    """Computed by this machine in the drafter and in sealing, for which the device slept."""
    slept_s: float = 0.0
    """Slept instead of computing slowly."""

    def first_token_s(self, first_block: int, end_s: float) -> float:
        """Return when the first token was final. ``first_block`` is the number of drafted tokens on
        which it was decided; 1 if nothing decides.

        If they are kept, that is when the last of them was predicted. If they are sent, it is when
        the verdict came, and after that the first word of a caption that is worded again; without
        a verdict it is ``end_s``, when the caption was complete.
        """
        drafted_s = self.predicted_s[0][min(first_block, len(self.predicted_s[0])) - 1]
        if not self.sent_s:
            return drafted_s
        verdict_s = next((at_s for at_s in self.verdicts_s if at_s > self.sent_s[0]), end_s)
        return self.predicted_s[1][0] if len(self.predicted_s) > 1 else verdict_s


class Device:
    """Keeps the emulated device's time. One caption is made at a time, by one thread."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.trace = Trace()
        self._owed_s = 0.0
        self._drafted_cpu_s, self._drafted_by = 0.0, 0

    def begin(self) -> None:
        """Begin the trace of a caption."""
        self.trace, self._owed_s = Trace(), 0.0

    @contextmanager
    def drafting(self, steps: int) -> Iterator[None]:
        """Slow down the drafter's computation of a number of decoding steps."""
        started_s, began_cpu_s = perf_counter(), thread_time()
        yield
        cpu_s = thread_time() - began_cpu_s
        if not self.trace.begun_s:
            self.trace.begun_s = started_s
        self._pay(cpu_s, steps)
        self._drafted_cpu_s, self._drafted_by = thread_time(), get_ident()

    def sealed(self) -> None:
        """Slow down what was computed since a block was drafted, to decide on it and seal it, and
        note that it is sent now."""
        if get_ident() == self._drafted_by:  # the handshake's frame is sent by a thread of its own
            self._pay(thread_time() - self._drafted_cpu_s, 0)
            self.trace.sent_s.append(perf_counter())

    def _pay(self, cpu_s: float, steps: int) -> None:
        self.trace.paid_cpu_s += cpu_s
        self._owed_s += self.pace.more_s(cpu_s, steps)
        if self._owed_s >= _SHORTEST_SLEEP_S:
            started_s = perf_counter()
            sleep(self._owed_s)
            slept_s = perf_counter() - started_s
            self._owed_s -= slept_s
            self.trace.slept_s += slept_s


class DeviceSession:
    """A draft whose computation takes as long as on the device. Tokens that were appended are read,
    in one step, when what follows them is asked for."""

    def __init__(self, start: Callable[[], DraftSession], device: Device) -> None:
        self._device = device
        with device.drafting(0):  # the first token comes with encoding
            self._session = start()
        self._num_read = 0
        self._predicted_s: list[float] = []
        device.trace.predicted_s.append(self._predicted_s)

    @property
    def tokens(self) -> Sequence[int]:
        return self._session.tokens

    def predict(self) -> Prediction:
        num_tokens = len(self._session.tokens)
        with self._device.drafting(1 if num_tokens > self._num_read else 0):
            prediction = self._session.predict()
        self._num_read = max(self._num_read, num_tokens)
        num_new = num_tokens + 1 - len(self._predicted_s)
        self._predicted_s += [perf_counter()] * num_new
        return prediction

    def append(self, tokens: Sequence[int]) -> None:
        with self._device.drafting(0):
            self._session.append(tokens)

    def crop(self, length: int) -> None:
        self._session.crop(length)
        self._num_read = min(self._num_read, length)


class DeviceTransport(WebSocketTransport):
    """A connection to the verifier whose frames are sealed slowly, and which notes verdicts."""

    def __init__(self, url: str, device: Device) -> None:
        super().__init__(url)
        self._device = device

    def send(self, frame: SealedFrame) -> None:
        self._device.sealed()
        super().send(frame)

    def receive(self, timeout_s: float) -> bytes:
        frame = super().receive(timeout_s)
        self._device.trace.verdicts_s.append(perf_counter())
        return frame
