"""The formats of files of captions with times, and what writes each of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from ugsd_sdk.exports.csv_rows import CsvRows
from ugsd_sdk.exports.subrip import SubRip
from ugsd_sdk.exports.timed_caption import TimedCaption
from ugsd_sdk.exports.webvtt import WebVtt

__all__ = ["CaptionFormat", "CaptionFormatter", "JsonLines", "caption_formatter"]


class CaptionFormat(StrEnum):
    """A format of a file. Its value is the usual suffix of such a file, without the dot."""

    JSONL = "jsonl"
    """One JSON object per line; loses nothing."""
    VTT = "vtt"
    """WebVTT, for browsers and players."""
    SRT = "srt"
    """SubRip, for players and editors."""
    CSV = "csv"
    """One flat row for each caption, for spreadsheets."""


class CaptionFormatter(Protocol):
    """Makes the text of a file, part by part, so that it can be written as captions are made.

    A formatter serves one file, which begins with its header. Captions are given in the order of
    their start: WebVTT and SubRip raise :class:`ValueError` otherwise.
    """

    def header(self) -> str:
        """Return what the file begins with."""

    def cue(self, caption: TimedCaption) -> str:
        """Return what the file says of one caption, with its line end."""


class JsonLines:
    """Writes :meth:`TimedCaption.to_json`, one object per line (jsonlines.org)."""

    def __init__(self, *, details: bool = False) -> None:
        self._details = details

    def header(self) -> str:
        """Return nothing: each line stands for itself."""
        return ""

    def cue(self, caption: TimedCaption) -> str:
        """Return the caption's line."""
        return caption.to_json(details=self._details) + "\n"


def caption_formatter(
    kind: CaptionFormat | str, *, source: str | None = None, details: bool = False
) -> CaptionFormatter:
    """Return what writes a file of a format.

    ``source`` is the recording's path or name, which WebVTT notes at the start of the file.
    ``details`` writes all of each caption as JSON. Raises :class:`ValueError` for other formats.
    """
    match CaptionFormat(kind):
        case CaptionFormat.JSONL:
            return JsonLines(details=details)
        case CaptionFormat.VTT:
            return WebVtt(source)
        case CaptionFormat.SRT:
            return SubRip()
        case CaptionFormat.CSV:
            return CsvRows()
