"""A verifier in the same process, for tests and for measuring without a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ugsd_privacy.egress import SealedFrame

from ugsd_sdk.errors import VerifierTimeout, VerifierUnreachable
from ugsd_sdk.transport import frame_bytes

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """Hands each frame to ``peer``, which answers at once; ``None`` stands for no answer."""

    def __init__(self, peer: Callable[[bytes], bytes | None]) -> None:
        self._peer = peer
        self._answers: deque[bytes] = deque()
        self._open = False

    def connect(self, timeout_s: float) -> None:
        self._open = True

    def send(self, frame: SealedFrame) -> None:
        data = frame_bytes(frame)
        if not self._open:
            raise VerifierUnreachable("the transport is closed")
        answer = self._peer(data)
        if answer is not None:
            self._answers.append(answer)

    def receive(self, timeout_s: float) -> bytes:
        if not self._open:
            raise VerifierUnreachable("the transport is closed")
        if not self._answers:
            raise VerifierTimeout("the peer did not answer")
        return self._answers.popleft()

    def close(self) -> None:
        self._open = False
        self._answers.clear()
