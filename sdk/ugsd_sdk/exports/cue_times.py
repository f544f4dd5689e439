"""What WebVTT and SubRip share: times in whole milliseconds, in order, and text on one line."""

from __future__ import annotations

from ugsd_privacy.output.plain_text import plain_line

from ugsd_sdk.exports.clock import clock
from ugsd_sdk.exports.timed_caption import TimedCaption

__all__ = ["CueTimes", "cue_time", "one_line"]


class CueTimes:
    """Rounds the times of captions, and checks their order."""

    def __init__(self) -> None:
        self._last_ms = 0

    def of(self, caption: TimedCaption) -> tuple[int, int]:
        """Return start and end in ms. The end is at least 1 ms after the start, as both formats
        require. Raises :class:`ValueError` if an earlier caption starts later."""
        start_ms, end_ms = round(1000 * caption.start_s), round(1000 * caption.end_s)
        if start_ms < self._last_ms:
            raise ValueError("captions must be in the order of their start: sort them")
        self._last_ms = start_ms
        return start_ms, max(end_ms, start_ms + 1)


def cue_time(time_ms: int, point: str) -> str:
    """Return ``HH:MM:SS.mmm``, with more digits for 100 hours and more."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{clock(seconds, hour_digits=2)}{point}{milliseconds:03}"


def one_line(text: str) -> str:
    """Return the text on one line, with single spaces, and with escapes for what is invisible."""
    words = " ".join(text.split())
    return plain_line(words, most=len(words))
