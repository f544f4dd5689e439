"""Times of a recording as people write them."""

from __future__ import annotations

__all__ = ["clock"]


def clock(time_s: float, *, hour_digits: int = 0) -> str:
    """Return ``M:SS``, or ``H:MM:SS`` from an hour on; with ``hour_digits``, always with hours of
    at least so many digits. Parts of a second are cut off."""
    minutes, seconds = divmod(int(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours or hour_digits:
        return f"{hours:0{max(hour_digits, 1)}}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
