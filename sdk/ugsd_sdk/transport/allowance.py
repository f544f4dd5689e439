"""How much a peer may send that nobody asked for."""

from __future__ import annotations

from time import monotonic

__all__ = ["Allowance"]


class Allowance:
    """What a peer may send beside the frame that is waited for.

    Each frame of ours renews it. While nothing is sent it grows with time, so that a verifier which
    pings now and then keeps an idle connection.
    """

    _FRAMES, _FRAMES_PER_S = 64, 1.0
    _BYTES, _BYTES_PER_S = 256 * 1024, 4096.0

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._frames, self._bytes = float(self._FRAMES), float(self._BYTES)
        self._at_s = monotonic()

    def allows(self, *, frames: int, received_bytes: int) -> bool:
        """Take from it; whether there was enough."""
        now_s = monotonic()
        passed_s, self._at_s = now_s - self._at_s, now_s
        self._frames = min(self._frames + passed_s * self._FRAMES_PER_S, self._FRAMES) - frames
        more_bytes = self._bytes + passed_s * self._BYTES_PER_S
        self._bytes = min(more_bytes, self._BYTES) - received_bytes
        return self._frames >= 0 and self._bytes >= 0
