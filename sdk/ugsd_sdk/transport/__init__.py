"""Transports of sealed frames to a verifier. A transport sends only :class:`SealedFrame`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ugsd_privacy.egress import SealedFrame

from ugsd_sdk.concurrency.smoothed_time import SmoothedTime

__all__ = ["MAX_FRAME_BYTES", "MeasuredTransport", "Transport", "frame_bytes"]

MAX_FRAME_BYTES = 32_768
"""The largest frame that a transport reads from a verifier."""


class Transport(Protocol):
    """One connection to one verifier. Except for :meth:`close`, one thread at a time uses it.

    Methods raise only :class:`~ugsd_sdk.errors.TransportError`. None may wait longer than its
    timeout, since captions are made in the caller's thread.
    """

    def connect(self, timeout_s: float) -> None:
        """Open the connection. Raises ``VerifierUnreachable``."""

    def send(self, frame: SealedFrame) -> None:
        """Send one frame, or buffer it until the peer reads, without waiting for the peer. Raises
        ``VerifierUnreachable`` if the connection was lost."""

    def receive(self, timeout_s: float) -> bytes:
        """Return the next frame. Raises ``VerifierTimeout`` after ``timeout_s``,
        ``VerifierUnreachable`` if the connection was lost, and ``VerifierMisbehaved`` for an
        invalid frame."""

    def close(self) -> None:
        """Close the connection, if there is one, within about a second. Another thread may call
        this; it ends a running ``connect`` or ``receive``."""


@runtime_checkable
class MeasuredTransport(Transport, Protocol):
    """A transport that measures its round trip without sending content. An application's own may
    do so."""

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip of the current connection; ``None`` if it is not known."""

    @property
    def is_late(self) -> bool:
        """Whether the peer has been silent for longer than the round trip explains."""


def frame_bytes(frame: SealedFrame) -> bytes:
    """Return the bytes to send. Raises ``TypeError`` for anything that the egress did not seal,
    which is a bug of the calling code."""
    if type(frame) is not SealedFrame:
        raise TypeError("a transport sends only a SealedFrame: seal the data with the egress")
    return frame.data
