"""A picture of a timeline: for each channel its utterances by emotion, and the arc of the arousal.

Each emotion has a row of its own, named at its left, from the most agitated at the top to the
calmest: colour only repeats what place and name say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.svg_drawing import Drawing, Palette

from ugsd_sdk.exports.clock import clock
from ugsd_sdk.timelines.lanes import LEFT, RIGHT, Lane, TimeAxis, lane_of

if TYPE_CHECKING:
    from ugsd_sdk.timelines.timeline import Timeline

__all__ = ["PALETTE", "WIDTH", "timeline_picture"]

WIDTH = 900.0
PALETTE: Palette = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1f2933", "#e8edf2"),
    "note": ("#52606d", "#a9b5c1"),
    "rule": ("#d5dbe1", "#343d46"),
    "band": ("#f4f6f8", "#1b2027"),
    "arousal": ("#1f2933", "#e8edf2"),
    "turn": ("#a8005c", "#ff8cc6"),
    "angry": ("#b3261e", "#ff8a80"),
    "fearful": ("#7b2d8e", "#d79bea"),
    "happy": ("#b07000", "#f2bd4a"),
    "surprised": ("#c44a00", "#ffab70"),
    "disgusted": ("#4f6b00", "#b4d45a"),
    "neutral": ("#66727f", "#9fabb7"),
    "calm": ("#00756a", "#5fd0bf"),
    "sad": ("#1b5fae", "#86b6ff"),
    "bored": ("#7a5230", "#cfa27a"),
}
"""Text has a contrast of at least 4.5 to 1 on the paper, and bars of at least 3 to 1."""

_TOP, _LANES_TOP = 30.0, 52.0
_LANE_GAP = 26.0
_LINE_HEIGHT = 18.0
_LETTERS = 116
_MOST_TURNS = 8
_NAME_LETTERS = 70


def timeline_picture(timeline: Timeline) -> str:
    """Return the text of an SVG file, 900 units wide."""
    axis = TimeAxis(timeline.duration_s)
    lanes, top = list[Lane](), _LANES_TOP
    for channel in timeline.channels:
        lane = lane_of(channel, axis, top)
        lanes.append(lane)
        top = lane.bottom + _LANE_GAP
    axis_y = top - _LANE_GAP + 10
    text_top = axis_y + 80
    texts = _texts(timeline)
    height = text_top + _LINE_HEIGHT * len(texts) + 6
    title = "Timeline" if timeline.path is None else PurePath(timeline.path).name
    title = plain_line(title, most=_NAME_LETTERS)
    drawing = Drawing("timeline", title, _description(timeline), width=WIDTH, height=height)
    drawing.box(0, 0, WIDTH, height, "paper")
    drawing.coloured_text((LEFT - 80, _TOP), [(title, "ink")], 19)
    length = f"{clock(timeline.duration_s)}, channels {timeline.layout}"
    drawing.text((RIGHT, _TOP), length, "end", "note")
    axis.draw(drawing, [(lane.rows_top, lane.bottom) for lane in lanes], axis_y)
    for lane in lanes:
        lane.draw(drawing)
    _legend(drawing, axis_y + 50, is_binned=any(lane.is_binned for lane in lanes))
    for index, parts in enumerate(texts):
        drawing.coloured_text((LEFT - 80, text_top + _LINE_HEIGHT * index), parts, 13)
    return drawing.file(PALETTE)


def _legend(drawing: Drawing, y: float, *, is_binned: bool) -> None:
    x = LEFT - 80
    drawing.box(x, y - 10, x + 26, y, "neutral")
    what = "speech with this emotion (higher: more of the time)" if is_binned else "utterance"
    drawing.text((x + 34, y), what, "start", "note")
    x += 34 + 6.4 * len(what) + 22
    drawing.line([(x, y - 4), (x + 26, y - 4)], "arousal", stroke_width="2")
    drawing.text((x + 34, y), "arousal, smoothed", "start", "note")
    x += 34 + 6.4 * 17 + 22
    drawing.line([(x, y - 13), (x, y + 3)], "turn", stroke_width="1.6", stroke_dasharray="4 3")
    drawing.text((x + 10, y), "turning point, numbered in the text below", "start", "note")


def _texts(timeline: Timeline) -> list[list[tuple[str, str]]]:
    """Return the lines below the picture: each channel's summary and its turning points."""
    lines: list[list[tuple[str, str]]] = []
    for channel in timeline.channels:
        label = plain_line(channel.label, most=24)
        first, *others = textwrap.wrap(f"{label}: {channel.summary}", _LETTERS)
        lines.append([(first[: len(label) + 1], "ink"), (first[len(label) + 1 :], "note")])
        lines += [[(line, "note")] for line in others]
        numbered = list(enumerate(channel.turning_points, 1))
        for number, point in numbered[:_MOST_TURNS]:
            lines.append([(f"    {number}  ", "turn"), (str(point), "note")])
        if len(numbered) > _MOST_TURNS:
            more = f"    and {len(numbered) - _MOST_TURNS} more turning points"
            lines.append([(more, "note")])
    return lines


def _description(timeline: Timeline) -> str:
    parts: Sequence[str] = [
        f"{plain_line(one.label)}, {len(one.utterances)} utterances: {one.summary}"
        for one in timeline.channels
    ]
    return f"A recording of {clock(timeline.duration_s)}. {' '.join(parts)}"
