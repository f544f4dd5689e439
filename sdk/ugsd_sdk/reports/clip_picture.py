"""A picture of one clip: what was measured of it over time, and the sentence that states it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.svg_drawing import FONT_SIZE, Drawing, Palette

from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.reports.claim_marks import PLACES, draw_marks
from ugsd_sdk.reports.claims import Claim, ClaimedCaption, Clause, claims_of, clauses_of
from ugsd_sdk.reports.clip_contours import ClipContours
from ugsd_sdk.reports.clip_panels import AXIS_BOTTOM, LEFT, Panels

__all__ = ["PALETTE", "WIDTH", "clip_picture"]

WIDTH = 900.0
PALETTE: Palette = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1f2933", "#e8edf2"),
    "note": ("#52606d", "#a9b5c1"),
    "rule": ("#c9d1d9", "#3a444e"),
    "wave": ("#7b8794", "#8b98a5"),
    "contour": ("#1f2933", "#e8edf2"),
    "speech": ("#4f5bd5", "#8f9bff"),
    "limit": ("#6b5200", "#e0c168"),
    Slot.EMOTION: ("#7b2d8e", "#dda8ec"),
    Slot.LOUDNESS: ("#0b6280", "#6cc5ee"),
    Slot.PACE: ("#8a4b00", "#f0b45a"),
    Slot.PITCH: ("#b3261e", "#ff9a91"),
    Slot.VARIATION: ("#a0236b", "#f59acb"),
    Slot.QUALITY: ("#456000", "#b4d45a"),
    Slot.PAUSES: ("#6b5200", "#e0c168"),
    Slot.CHANGE: ("#1b5fae", "#8fbcff"),
    Slot.EMPHASIS: ("#a83e00", "#ffb070"),
    Slot.PROFILE: ("#00695c", "#63d3c2"),
    Slot.PREVIOUS: ("#3d4fa8", "#aab6ff"),
}
"""Every text colour has a contrast of at least 4.5 to 1 on the paper."""

_NAME_LETTERS = 70
_SENTENCE_SIZE = 17.0
_LINE_LETTERS = 92
"""Letters of the sentence that fit into a line in any usual font."""
_MOST_LINES = 12
_LINE_HEIGHT, _ROW_HEIGHT = 25.0, 19.0
_TABLE_X = (LEFT, LEFT + 130, LEFT + 270, LEFT + 400, LEFT + 480, LEFT + 570)
_TABLE_HEAD = ("clause", "value", "measured", "confidence", "decided by", "in the picture")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Part = tuple[str, str]
"""A text and its colour."""


def clip_picture(contours: ClipContours, caption: ClaimedCaption, name: str) -> str:
    """Return the text of an SVG file, 900 units wide, which shows a clip and its caption.

    Waveform, pitch and level share a time axis. Speech is shaded, and pauses are hatched. Each
    clause of the sentence has a number and a colour, which are those of its mark above. ``name``
    and the caption may be any text.
    """
    numbers = _numbers(clauses_of(caption))
    stated = [claim for claim in claims_of(caption) if claim.slot in numbers]
    lines = list(_lines(_sentence(clauses_of(caption), numbers)))
    table_top = AXIS_BOTTOM + 32 + _LINE_HEIGHT * len(lines)
    bottom = table_top + _ROW_HEIGHT * (len(stated) + 1 if stated else 0) + 14
    title = plain_line(name, most=_NAME_LETTERS)
    drawing = Drawing(
        "clip", title, _description(contours, caption, stated), width=WIDTH, height=bottom
    )
    drawing.box(0, 0, WIDTH, bottom, "paper")
    drawing.text((LEFT, 20), f"{title}, {contours.duration_s:.1f} s", "start")

    panels = Panels(drawing, contours)
    pause_mark = _raised(numbers[Slot.PAUSES]) if Slot.PAUSES in numbers else ""
    panels.draw(caption.attributes.pause_spans, pause_mark)
    draw_marks(
        drawing, panels, contours, [(claim, _raised(numbers[claim.slot])) for claim in stated]
    )
    for index, line in enumerate(lines):
        at = (LEFT, AXIS_BOTTOM + 26 + _LINE_HEIGHT * index)
        drawing.coloured_text(at, line, _SENTENCE_SIZE)
    _table(drawing, table_top, stated, numbers)
    return drawing.file(PALETTE)


def _numbers(clauses: Sequence[Clause]) -> dict[Slot, int]:
    """Return the number of each slot that the sentence states, in the order of its clauses."""
    stated = dict.fromkeys(clause.slot for clause in clauses if clause.slot is not None)
    return {slot: number for number, slot in enumerate(stated, 1)}


def _raised(number: int) -> str:
    return str(number).translate(_RAISED)


def _sentence(clauses: Sequence[Clause], numbers: dict[Slot, int]) -> Iterator[Part]:
    """Yield the words of the sentence in their colours; each clause ends with its number."""
    for clause in clauses:
        words = plain_line(clause.text, most=len(clause.text)).split()
        if clause.slot is None:
            yield from ((word, "ink") for word in words)
            continue
        words[-1:] = [words[-1] + _raised(numbers[clause.slot])] if words else []
        yield from ((word, clause.slot) for word in words)


def _lines(words: Iterator[Part]) -> Iterator[list[Part]]:
    """Yield lines of words; consecutive ones of a colour are one part. Cut after the last line."""
    line: list[Part] = []
    room, count = _LINE_LETTERS, 1
    for word, colour in words:
        shown = plain_line(word, most=_LINE_LETTERS // 2)
        if _letters(shown) + 1 > room and line:
            yield line
            line, room, count = [], _LINE_LETTERS, count + 1
            if count > _MOST_LINES:
                return
        room -= _letters(shown) + 1
        if line and line[-1][1] == colour:
            line[-1] = (f"{line[-1][0]} {shown}", colour)
        elif line and shown not in {".", ",", ";"}:
            line.append((f" {shown}", colour))
        else:
            line.append((shown, colour))
    if line:
        yield line


def _letters(text: str) -> int:
    """Return the width of a text in letters; those of East Asian scripts are two wide."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _table(drawing: Drawing, top: float, stated: Sequence[Claim], numbers: dict[Slot, int]) -> None:
    """Write a row for each clause: its value, number, certainty, and place in the picture."""
    if not stated:
        return
    for x, head in zip(_TABLE_X, _TABLE_HEAD, strict=True):
        drawing.coloured_text((x, top), [(head, "note")])
    for row, claim in enumerate(sorted(stated, key=lambda one: numbers[one.slot]), 1):
        y = top + _ROW_HEIGHT * row
        drawing.box(LEFT - 18, y - FONT_SIZE + 2, LEFT - 8, y, claim.slot)
        cells = (
            f"{numbers[claim.slot]} {claim.slot}",
            plain_line(claim.value or "none", most=22),
            claim.number or "no number",
            claim.confidence or "unknown",
            str(claim.attribute.decided_by),
            PLACES[claim.slot],
        )
        for x, cell in zip(_TABLE_X, cells, strict=True):
            drawing.coloured_text((x, y), [(cell, claim.slot if x == LEFT else "ink")])


def _description(contours: ClipContours, caption: ClaimedCaption, stated: Sequence[Claim]) -> str:
    """Return what the picture shows, in words."""
    speech_s = sum(end - start for start, end in contours.speech)
    pauses = caption.attributes.pause_spans
    text = (
        f"Waveform, pitch and level of {contours.duration_s:.1f} s, of which {speech_s:.1f} s are "
        f"speech, with {len(pauses)} pause{'' if len(pauses) == 1 else 's'}. "
        f"The caption: {plain_line(caption.text)}"
    )
    facts = [
        f"{claim.slot}: {plain_line(claim.value or 'none')}"
        + (f" ({claim.number})" if claim.number else "")
        for claim in stated
    ]
    return f"{text} It states {'; '.join(facts)}." if facts else text
