"""A transport to a verifier in the same process, for tests and benchmarks without a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ugsd_privacy.egress import SealedFrame

from ugsd_sdk.errors import VerifierTimeout, VerifierUnreachable
from ugsd_sdk.transport import frame_bytes

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """Passes each frame to ``peer``, which returns its answer at once, or ``None`` for none."""

    def __init__(self, peer: Callable[[bytes], bytes | None]) -> None:
        self._peer = peer
        self._answers: deque[bytes] = deque()
        self._open = False

    def connect(self, timeout_s: float) -> None:
        self._open = True

    def send(self, frame: SealedFrame) -> None:
        data = frame_bytes(frame)
        if not self._open:
            raise VerifierUnreachable("the transport is closed: connect again")
        answer = self._peer(data)
        if answer is not None:
            self._answers.append(answer)

    def receive(self, timeout_s: float) -> bytes:
        if not self._open:
            raise VerifierUnreachable("the transport is closed: connect again")
        if not self._answers:
            raise VerifierTimeout("the peer did not answer: try again")
        return self._answers.popleft()

    def close(self) -> None:
        self._open = False
        self._answers.clear()
