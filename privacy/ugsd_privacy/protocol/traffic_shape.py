"""What the sizes of frames reveal."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["CONSTANT_FRAME_BYTES", "TrafficShape"]

CONSTANT_FRAME_BYTES = 1024
"""The one size in constant shape: the smallest that holds any 64 tokens (prefix and block together)
and a state of ``MAX_STATE_DIM`` coordinates. A verdict of 64 tokens is shorter."""


class TrafficShape(StrEnum):
    """What the sizes of frames reveal."""

    PADDED = "padded"
    """Each frame has the smallest size that holds its message."""
    CONSTANT = "constant"
    """Every frame has ``CONSTANT_FRAME_BYTES``."""

    @staticmethod
    def of(frame: bytes) -> TrafficShape:
        """Return the shape for the answer to ``frame``, by the frame's size.

        So a verifier needs no other signal, and whoever sees the frame learns nothing new from the
        size of the answer.
        """
        return TrafficShape.CONSTANT if len(frame) == CONSTANT_FRAME_BYTES else TrafficShape.PADDED
