"""How sealed frames reach a verifier. Transports carry :class:`SealedFrame` and nothing else."""

from __future__ import annotations

from typing import Protocol

from ugsd_privacy.egress import SealedFrame

__all__ = ["MAX_FRAME_BYTES", "Transport", "frame_bytes"]

MAX_FRAME_BYTES = 32_768
"""The largest frame that is read from a verifier."""


class Transport(Protocol):
    """One connection to one verifier; used by one thread at a time, but for :meth:`close`.

    Every method raises a :class:`~ugsd_sdk.errors.TransportError` and nothing else. None may wait
    for longer than it is told to: captions are made in the caller's thread.
    """

    def connect(self, timeout_s: float) -> None:
        """Open the connection. Raises ``VerifierUnreachable``."""

    def send(self, frame: SealedFrame) -> None:
        """Send one frame, or keep it until the peer reads; does not wait for the peer. Raises
        ``VerifierUnreachable`` where the connection is lost."""

    def receive(self, timeout_s: float) -> bytes:
        """The next frame. Raises ``VerifierTimeout`` after ``timeout_s``, ``VerifierUnreachable``
        where the connection is lost, ``VerifierMisbehaved`` for a frame that is no frame of
        ours."""

    def close(self) -> None:
        """Close the connection, within about a second; harmless if there is none. Another thread
        may call it, which ends a ``connect`` or ``receive`` that is under way."""


def frame_bytes(frame: SealedFrame) -> bytes:
    """The bytes to send. ``TypeError`` for anything that did not pass through the egress: a fault
    of the calling code, not of its input."""
    if type(frame) is not SealedFrame:
        raise TypeError("a transport carries SealedFrame only: what leaves goes through the egress")
    return frame.data
