"""Times of a recording as people write them."""

from __future__ import annotations

__all__ = ["clock"]


def clock(time_s: float) -> str:
    """Return ``M:SS``, or ``H:MM:SS`` from an hour on."""
    minutes, seconds = divmod(int(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
