"""CSV (RFC 4180), with the columns of :meth:`Caption.row` after those of the time.

Spreadsheets run text that looks like a formula. Such text gets an apostrophe in front, which they
take for "this is text"; numbers are left as they are. It is guarded after a semicolon too, which
spreadsheets of many languages take for the end of a cell.
"""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from typing import TYPE_CHECKING

from ugsd_privacy.output.plain_text import plain_line

from ugsd_sdk.exports.timed_caption import TimedCaption

if TYPE_CHECKING:
    from ugsd_sdk.caption.rows import Scalar

__all__ = ["CsvRows", "guarded"]

_TIMED = ("start_s", "end_s", "channel", "source", "text")
_FORMULA = re.compile(r"(\A|;)(\s*)([=+\-@＝＋－＠])")


class CsvRows:
    """Writes a header, and one row for each caption, with CR LF after each."""

    def header(self) -> str:
        """Return the names of the columns, which are always the same."""
        return _line([*_TIMED, *_caption_columns()])

    def cue(self, caption: TimedCaption) -> str:
        """Return one row. Values of a caption that is missing are empty."""
        row = {} if caption.caption is None else caption.caption.row()
        timed = [getattr(caption, name) for name in _TIMED]
        return _line([*timed, *(row.get(name) for name in _caption_columns())])


def guarded(text: str) -> str:
    """Return the text on one line, all visible, and with no part that a spreadsheet would run."""
    shown = plain_line(text, most=len(text))
    return _FORMULA.sub(r"\1\2'\3", shown)


def _line(values: list[Scalar]) -> str:
    line = io.StringIO()
    cells = [guarded(value) if isinstance(value, str) else value for value in values]
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


@cache
def _caption_columns() -> tuple[str, ...]:
    from ugsd_sdk.attributes.length import CaptionLength  # noqa: PLC0415  # heavy
    from ugsd_sdk.caption import Caption, CaptionSpeech, CaptionUsage, Latency  # noqa: PLC0415

    speech = CaptionSpeech(share=0, duration_s=0, spans=())
    any_caption = Caption(
        text="", length=CaptionLength.NORMAL, seed=0, speech=speech, usage=CaptionUsage(),
        latency_ms=Latency(),
    )  # fmt: skip
    return tuple(name for name in any_caption.row() if name not in _TIMED)
