"""A limit on what a peer may send without being asked."""

from __future__ import annotations

from time import monotonic

__all__ = ["Allowance"]


class Allowance:
    """What a peer may send in addition to the expected frame.

    Each frame that we send renews it. It also grows with time, so that an idle connection survives
    occasional pings of the verifier.
    """

    _FRAMES, _FRAMES_PER_S = 64, 1.0
    _BYTES, _BYTES_PER_S = 256 * 1024, 4096.0

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._frames, self._bytes = float(self._FRAMES), float(self._BYTES)
        self._at_s = monotonic()

    def allows(self, *, frames: int, received_bytes: int) -> bool:
        """Subtract from the allowance; return whether it was enough."""
        now_s = monotonic()
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        self._frames = min(self._frames + elapsed_s * self._FRAMES_PER_S, self._FRAMES) - frames
        more_bytes = self._bytes + elapsed_s * self._BYTES_PER_S
        self._bytes = min(more_bytes, self._BYTES) - received_bytes
        return self._frames >= 0 and self._bytes >= 0
