"""A verifier that answers no block."""

from __future__ import annotations

import threading

from ugsd_sdk.errors import VerifierUnreachable
from ugsd_sdk.transport.memory import MemoryTransport

__all__ = ["SilentTransport"]


class SilentTransport(MemoryTransport):
    """Connects if ``connects``, and then waits for as long as it is told to, or is closed."""

    def __init__(
        self,
        real: MemoryTransport,
        *,
        connects: bool = True,
        waiting: threading.Event | None = None,
    ) -> None:
        super().__init__(real._peer)
        self._connects = connects
        self._closed = threading.Event()
        self.waiting = waiting or threading.Event()
        """Set when somebody waits."""

    def connect(self, timeout_s: float) -> None:
        super().connect(timeout_s)
        if not self._connects:
            self.wait(timeout_s)

    def receive(self, timeout_s: float) -> bytes:
        if not self._answers and timeout_s:
            self.wait(timeout_s)
        return super().receive(timeout_s)

    def wait(self, timeout_s: float) -> None:
        self.waiting.set()
        if self._closed.wait(timeout_s):
            raise VerifierUnreachable("closed")

    def close(self) -> None:
        super().close()
        self._closed.set()
