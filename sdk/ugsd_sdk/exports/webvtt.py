"""WebVTT (https://www.w3.org/TR/webvtt1/ §4), with a voice span for each channel."""

from __future__ import annotations

from ugsd_sdk.exports.cue_times import CueTimes, cue_time, one_line
from ugsd_sdk.exports.timed_caption import TimedCaption

__all__ = ["WebVtt"]

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class WebVtt:
    """Writes a WebVTT file: a note that names the recording, and a cue for each caption."""

    def __init__(self, source: str | None = None) -> None:
        self._source = source
        self._times = CueTimes()

    def header(self) -> str:
        """Return the signature, and a comment with the source if there is one."""
        if self._source is None:
            return "WEBVTT\n\n"
        # A comment may not hold the arrow of a cue's times.
        source = one_line(self._source).replace("-->", "-- >")
        return f"WEBVTT\n\nNOTE Voice captions of {source}\n\n"

    def cue(self, caption: TimedCaption) -> str:
        """Return one cue, with an empty line after it."""
        start_ms, end_ms = self._times.of(caption)
        text = one_line(caption.text).translate(_ESCAPES)
        if voice := one_line(caption.channel or "").translate(_ESCAPES):
            text = f"<v {voice}>{text}</v>"
        return f"{cue_time(start_ms, '.')} --> {cue_time(end_ms, '.')}\n{text}\n\n"
