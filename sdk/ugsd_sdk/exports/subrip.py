"""SubRip (SRT), as its own program and ffmpeg write and read it: there is no standard.

Lines end with CR LF, and decimals with a comma. Players take ``<b>`` and ``{\\an8}`` for formatting
and have no escape for it, so brackets are replaced by others that look alike.
"""

from __future__ import annotations

from ugsd_sdk.exports.cue_times import CueTimes, cue_time, one_line
from ugsd_sdk.exports.timed_caption import TimedCaption

__all__ = ["SubRip"]

_LOOK_ALIKE = str.maketrans("<>{}", "‹›()")


class SubRip:
    """Writes a SubRip file: numbered captions, with the channel before the text."""

    def __init__(self) -> None:
        self._times = CueTimes()
        self._number = 0

    def header(self) -> str:
        """Return nothing: the format has no header."""
        return ""

    def cue(self, caption: TimedCaption) -> str:
        """Return one numbered caption, with an empty line after it."""
        start_ms, end_ms = self._times.of(caption)
        self._number += 1
        voice, text = one_line(caption.channel or ""), one_line(caption.text)
        shown = (f"{voice}: {text}" if voice else text).translate(_LOOK_ALIKE)
        times = f"{cue_time(start_ms, ',')} --> {cue_time(end_ms, ',')}"
        return f"{self._number}\r\n{times}\r\n{shown}\r\n\r\n"
