"""The lane of one channel in the picture of a timeline, and the time axis below all lanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.svg_drawing import Box, Drawing, Point

from ugsd_sdk.attributes.affect import CIRCUMPLEX
from ugsd_sdk.exports.clock import clock

if TYPE_CHECKING:
    from ugsd_sdk.timelines.parts import TimelineChannel

__all__ = ["LEFT", "RIGHT", "Lane", "TimeAxis", "lane_of"]

LEFT, RIGHT = 100.0, 880.0
"""Ends of the time axis, in units of the drawing."""
_ROW_HEIGHT = 17.0
_ARC_HEIGHT, _ARC_GAP = 62.0, 12.0
_HEAD_HEIGHT = 30.0
_LEAST_WIDTH = 3.0
"""An utterance is at least so wide."""
_BIN_WIDTH = 6.0
_BINNED_BELOW = 4.0
"""With less room than this for each utterance, bins are drawn."""
_LEAST_BAR = 2.5
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MOST_TICKS = 10
_LABEL_ROOM = 20.0
"""A label nearer to the right end stands before its tick."""
_ROW_ORDER = tuple(sorted(CIRCUMPLEX, key=lambda one: (-CIRCUMPLEX[one][1], CIRCUMPLEX[one][0])))
"""Emotions from the most agitated to the calmest."""


class TimeAxis:
    """Places of times."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = max(duration_s, 0.1)

    def x(self, time_s: float) -> float:
        """Return the place of a time, which is kept within the axis."""
        share = min(max(time_s / self.duration_s, 0.0), 1.0)
        return round(LEFT + share * (RIGHT - LEFT), 2)

    def draw(self, drawing: Drawing, lanes: Sequence[tuple[float, float]], y: float) -> None:
        """Draw the axis at ``y``, and its ticks through all ``lanes``, each a top and a bottom."""
        steps = [one for one in _STEPS_S if self.duration_s / one <= _MOST_TICKS]
        step_s = steps[0] if steps else self.duration_s
        drawing.line([(LEFT, y), (RIGHT, y)], "ink")
        for index in range(int(self.duration_s / step_s) + 1):
            x = self.x(index * step_s)
            for top, bottom in lanes:
                drawing.line([(x, top), (x, bottom)], "rule", stroke_width="0.7")
            drawing.line([(x, y), (x, y + 4)], "ink")
            is_last = x > RIGHT - _LABEL_ROOM
            drawing.text((x, y + 18), clock(index * step_s), "end" if is_last else "middle")
        unit = "minutes:seconds" if self.duration_s < 3600 else "hours:minutes:seconds"
        drawing.text((RIGHT, y + 34), unit, "end", "note")


@dataclass(frozen=True)
class Lane:
    """One channel's place in the picture."""

    channel: TimelineChannel
    axis: TimeAxis
    top: float
    rows: tuple[str, ...]
    """The emotions that have a row, from the top."""
    is_binned: bool
    """Whether utterances are too many to be drawn one by one."""

    @property
    def rows_top(self) -> float:
        return self.top + _HEAD_HEIGHT

    @property
    def _arc_top(self) -> float:
        return self.rows_top + _ROW_HEIGHT * len(self.rows) + _ARC_GAP

    @property
    def bottom(self) -> float:
        """Where the lane ends."""
        return self._arc_top + _ARC_HEIGHT if self.channel.utterances else self.rows_top + 14

    def draw(self, drawing: Drawing) -> None:
        """Draw the lane."""
        self._head(drawing)
        if not self.channel.utterances:
            drawing.text((LEFT, self.rows_top + 8), "no speech", "start", "note")
            return
        for index, emotion in enumerate(self.rows):
            top = self.rows_top + _ROW_HEIGHT * index
            drawing.text((LEFT - 8, top + 13), emotion, "end")
            drawing.line([(LEFT, top + _ROW_HEIGHT), (RIGHT, top + _ROW_HEIGHT)], "rule",
                         stroke_width="0.5")  # fmt: skip
            drawing.boxes(self._bars(emotion, top), emotion)
        self._arc(drawing)
        self._turning_points(drawing)

    def _head(self, drawing: Drawing) -> None:
        channel = self.channel
        share = (
            "" if channel.talk_share is None else f"{100 * channel.talk_share:.0f} % of the talk, "
        )
        drawing.coloured_text((LEFT - 80, self.top + 12), [
            (plain_line(channel.label, most=24), "ink"),
            (f"   {share}{clock(channel.speech_s)} of speech, "
             f"{len(channel.utterances)} utterances", "note"),
        ], 14)  # fmt: skip

    def _bars(self, emotion: str, top: float) -> list[Box]:
        inner = _ROW_HEIGHT - 3
        if not self.is_binned:
            return [
                (x, top + 1.5, max(self.axis.x(end), x + _LEAST_WIDTH), top + 1.5 + inner)
                for start, end in self._spans(emotion)
                for x in [self.axis.x(start)]
            ]
        bottom = top + _ROW_HEIGHT - 0.5
        heights = self._shares(emotion) * (inner / self._most)
        return [
            (left, bottom - max(height, _LEAST_BAR), left + _BIN_WIDTH - 1, bottom)
            for index, height in enumerate(heights)
            if height
            for left in [LEFT + index * _BIN_WIDTH]
        ]

    @property
    def _most(self) -> float:
        """The largest share of a bin's time that any emotion has."""
        return max(float(self._shares(one).max()) for one in self.rows) or 1.0

    def _spans(self, emotion: str) -> Iterator[tuple[float, float]]:
        for one in self.channel.utterances:
            if one.caption.attributes.emotion.value == emotion:
                yield one.start_s, one.end_s

    def _shares(self, emotion: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the share of each bin's time that is spoken with ``emotion``."""
        count = int((RIGHT - LEFT) / _BIN_WIDTH)
        width_s = self.axis.duration_s / count
        shares = np.zeros(count)
        for start, end in self._spans(emotion):
            for index in range(int(start / width_s), min(int(end / width_s) + 1, count)):
                shared = min(end, (index + 1) * width_s) - max(start, index * width_s)
                shares[index] += max(shared, 0.0) / width_s
        return np.minimum(shares, 1.0)

    def _arc(self, drawing: Drawing) -> None:
        top, bottom = self._arc_top, self.bottom
        middle = (top + bottom) / 2
        drawing.box(LEFT, top, RIGHT, bottom, "band")
        drawing.line([(LEFT, middle), (RIGHT, middle)], "rule")
        drawing.text((LEFT - 8, top + 10), "agitated", "end", "note")
        drawing.text((LEFT - 8, middle + 4), "arousal", "end")
        drawing.text((LEFT - 8, bottom - 2), "calm", "end", "note")
        for run in self._runs():
            points = [(x, middle - value * (_ARC_HEIGHT / 2 - 3)) for x, value in run]
            first, last = points[0][0], points[-1][0]
            drawing.area([(first, middle), *points, (last, middle)], "arousal")
            drawing.lines([points], "arousal", stroke_width="2")

    def _runs(self) -> list[list[Point]]:
        """Return the arc as runs of points without a gap."""
        known = [point for point in self.channel.arc if point.arousal is not None]
        runs: list[list[Point]] = []
        step_s = min((b.at_s - a.at_s for a, b in pairwise(self.channel.arc)), default=1.0)
        last_s = -np.inf
        for point in known:
            if point.at_s - last_s > 1.5 * step_s:
                runs.append([])
            runs[-1].append((self.axis.x(point.at_s), float(point.arousal or 0.0)))
            last_s = point.at_s
        return runs

    def _turning_points(self, drawing: Drawing) -> None:
        for number, point in enumerate(self.channel.turning_points, 1):
            x = self.axis.x(point.at_s)
            drawing.line([(x, self.rows_top), (x, self.bottom)], "turn",
                         stroke_width="1.6", stroke_dasharray="4 3")  # fmt: skip
            drawing.text((x, self.rows_top - 4), str(number), "middle", "turn", halo="paper")


def lane_of(channel: TimelineChannel, axis: TimeAxis, top: float) -> Lane:
    """Return the lane of a channel from ``top`` on."""
    found = {one.caption.attributes.emotion.value for one in channel.utterances}
    is_binned = len(channel.utterances) * _BINNED_BELOW > RIGHT - LEFT
    return Lane(channel, axis, top, tuple(one for one in _ROW_ORDER if one in found), is_binned)
