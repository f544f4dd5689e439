"""The formats in which commands write captions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import typer

from ugsd_sdk.exports.formats import CaptionFormat

__all__ = ["OutputFormat", "TimelineFormat", "format_of"]


class OutputFormat(StrEnum):
    """How captions are written: for people, or as a :class:`CaptionFormat`."""

    TEXT = "text"
    JSONL = CaptionFormat.JSONL
    VTT = CaptionFormat.VTT
    SRT = CaptionFormat.SRT
    CSV = CaptionFormat.CSV

    @property
    def suffix(self) -> str:
        """The usual ending of such a file."""
        return _suffix(self)

    @property
    def is_of_one_clip(self) -> bool:
        """Whether such a file can be about one recording only."""
        return self in {OutputFormat.VTT, OutputFormat.SRT}


class TimelineFormat(StrEnum):
    """How a timeline is written: its captions as an :class:`OutputFormat`, or all of it."""

    TEXT = OutputFormat.TEXT
    JSON = "json"
    JSONL = OutputFormat.JSONL
    VTT = OutputFormat.VTT
    SRT = OutputFormat.SRT
    CSV = OutputFormat.CSV
    SVG = "svg"
    PNG = "png"


_Format = TypeVar("_Format", OutputFormat, TimelineFormat)


def format_of(path: Path, formats: type[_Format], *, otherwise: str = "") -> _Format:
    """Return the format that the ending of ``path`` names. Raises :class:`typer.BadParameter`,
    which also says what is possible ``otherwise``."""
    for form in formats:
        if _suffix(form) == path.suffix.lower():
            return form
    raise typer.BadParameter(
        f"the ending of {path.name} names no known format: add --format "
        f"{'|'.join(formats)}{otherwise}"
    )


def _suffix(form: OutputFormat | TimelineFormat) -> str:
    return ".txt" if form == OutputFormat.TEXT else f".{form}"
