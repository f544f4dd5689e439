"""The panels of a clip's picture: waveform, pitch and level on one time axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.reports.svg_drawing import Drawing

from ugsd_sdk.exports.clock import clock
from ugsd_sdk.reports.clip_contours import ClipContours, SpanS

__all__ = ["AXIS_BOTTOM", "LEFT", "RIGHT", "Column", "Panels", "PicturePanel"]

Float64 = NDArray[np.float64]
Point = tuple[float, float]

LEFT, RIGHT = 64.0, 880.0
"""Ends of the time axis, in units of the drawing."""
_COLUMN_WIDTH = 2.0
_MAX_COLUMNS = round((RIGHT - LEFT) / _COLUMN_WIDTH)


@dataclass(frozen=True)
class PicturePanel:
    """A strip of the picture with a scale of its own."""

    top: float
    bottom: float
    low: float
    """The value at the bottom."""
    high: float

    def y(self, value: float) -> float:
        """Return the height of a value, which is kept within the panel."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.bottom - share * (self.bottom - self.top), 1)


_WAVE = PicturePanel(44, 128, -1.05, 1.05)
_PITCH_TOP, _PITCH_BOTTOM = 150.0, 250.0
_LEVEL = PicturePanel(272, 336, -50, 3)
_MARGIN_ST, _LEAST_RANGE_ST = 1.5, 9.0
"""Room above and below the pitch, and the smallest range of its axis."""
_LEAST_TICK_HEIGHT = 16.0
AXIS_BOTTOM = _LEVEL.bottom + 36
_PITCH_TICKS_HZ = (50, 65, 80, 100, 125, 160, 200, 250, 320, 400, 500, 640)
_LEVEL_TICKS_DB = (0, -20, -40)
_TIME_STEPS_S = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
)  # fmt: skip
_MOST_TICKS = 10
_SECONDS_UP_TO_S = 120
"""Longer axes show minutes."""
_LABEL_WIDTH = 44.0
_MAX_HATCHED = 100
"""Bounds the size of the file."""
_MOST_LABELS = 12


@dataclass(frozen=True)
class Column:
    """Consecutive frames that share a column of the picture."""

    x: float
    low: float
    """The least sample, as a share of the greatest of all."""
    high: float
    level_db: float
    """Relative to the loudest frame."""
    pitch_st: float
    """Median; NaN if fewer than half of the frames have a pitch."""


class Panels:
    """Draws a clip's panels. All that is drawn lies on the axis, and its size has a bound."""

    def __init__(self, drawing: Drawing, contours: ClipContours) -> None:
        self._drawing = drawing
        self._contours = contours
        self._duration_s = max(contours.duration_s, 0.1)
        self._columns = self._as_columns()
        self.wave, self.level = _WAVE, _LEVEL
        self.pitch = _pitch_panel(contours.pitch_st)

    def x(self, time_s: float) -> float:
        """Return the place of a time, which is kept within the axis."""
        share = min(max(time_s / self._duration_s, 0.0), 1.0)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def draw(self, pauses: Sequence[SpanS], pause_mark: str = "") -> None:
        """Draw the contours, speech and ``pauses``; ``pause_mark`` follows each pause's length."""
        self._spans(pauses)
        self._waveform()
        self._pitch()
        self._level()
        self._time_axis()
        self._pause_labels(pauses, pause_mark)

    def _as_columns(self) -> tuple[Column, ...]:
        contours, count = self._contours, len(self._contours.times_s)
        parts = np.array_split(np.arange(count), min(count, _MAX_COLUMNS)) if count else []
        greatest = float(np.abs(contours.envelope).max(initial=0)) or 1.0
        loudest = float(contours.level_db.max(initial=-math.inf))
        return tuple(
            Column(
                x=self.x(float(contours.times_s[part].mean())),
                low=float(contours.envelope[part, 0].min()) / greatest,
                high=float(contours.envelope[part, 1].max()) / greatest,
                level_db=float(contours.level_db[part].max()) - loudest,
                pitch_st=_median(contours.pitch_st[part]),
            )
            for part in parts
        )

    def _spans(self, pauses: Sequence[SpanS]) -> None:
        """Shade speech and hatch pauses; those closer than a column are joined."""
        top, bottom = self.wave.top, self.level.bottom
        speech = self._merged(self._contours.speech)
        self._drawing.faint_boxes([(a, top, b, bottom) for a, b in speech], "speech")
        longest = sorted(self._merged(pauses), key=lambda span: span[0] - span[1])[:_MAX_HATCHED]
        if longest:
            bottom = self.wave.bottom
            self._drawing.hatched_boxes([(a, top, b, bottom) for a, b in sorted(longest)])

    def _merged(self, spans: Sequence[SpanS]) -> list[tuple[float, float]]:
        merged: list[tuple[float, float]] = []
        for start, end in spans:
            a, b = self.x(start), self.x(end)
            if merged and a - merged[-1][1] < _COLUMN_WIDTH:
                a, b = merged[-1][0], max(b, merged.pop()[1])
            merged.append((a, b))
        return merged

    def _pause_labels(self, pauses: Sequence[SpanS], mark: str) -> None:
        """Write the length of the longest pauses; labels that would overlap are left out."""
        written: list[float] = []
        for start, end in sorted(pauses, key=lambda span: span[0] - span[1])[:_MOST_LABELS]:
            x = (self.x(start) + self.x(end)) / 2
            if all(abs(x - other) > _LABEL_WIDTH for other in written):
                written.append(x)
                at = (min(max(x, LEFT + 14), RIGHT - 14), self.wave.bottom + 14)
                self._drawing.text(
                    at, f"{end - start:.1f} s{mark}", "middle", "limit", halo="paper"
                )

    def _waveform(self) -> None:
        self._panel_label(self.wave, "waveform")
        upper = [(column.x, self.wave.y(column.high)) for column in self._columns]
        lower = [(column.x, self.wave.y(column.low)) for column in reversed(self._columns)]
        if upper:
            self._drawing.area(upper + lower, "wave", opacity=1)
        middle = self.wave.y(0)
        self._drawing.line([(LEFT, middle), (RIGHT, middle)], "wave", stroke_width="0.6")

    def _pitch(self) -> None:
        panel = self.pitch
        self._panel_label(panel or PicturePanel(_PITCH_TOP, _PITCH_BOTTOM, 0, 1), "pitch, Hz")
        if panel is None:
            middle = ((LEFT + RIGHT) / 2, (_PITCH_TOP + _PITCH_BOTTOM) / 2)
            self._drawing.text(middle, "no pitch was found", "middle", "note")
            return
        ticks = [(12 * math.log2(hz / 100), str(hz)) for hz in _PITCH_TICKS_HZ]
        self._ticks(panel, ticks)
        points = [(column.x, column.pitch_st) for column in self._columns]
        runs = [[(x, panel.y(pitch)) for x, pitch in run] for run in _runs(points)]
        self._drawing.lines(runs, "contour", stroke_width="2")

    def _level(self) -> None:
        self._panel_label(self.level, "level, dB")
        self._ticks(self.level, [(db, str(db)) for db in _LEVEL_TICKS_DB])
        points = [(column.x, self.level.y(column.level_db)) for column in self._columns]
        if points:
            self._drawing.lines([points], "contour", stroke_width="1.6")

    def _ticks(self, panel: PicturePanel, ticks: Sequence[tuple[float, str]]) -> None:
        last = math.inf
        for value, label in ticks:
            y = panel.y(value)
            if panel.low <= value <= panel.high and abs(last - y) >= _LEAST_TICK_HEIGHT:
                last = y
                self._drawing.line([(LEFT, y), (RIGHT, y)], "rule", stroke_width="0.6")
                self._drawing.text((LEFT - 6, y + 4), label, "end")

    def _panel_label(self, panel: PicturePanel, label: str) -> None:
        self._drawing.line([(LEFT, panel.top), (LEFT, panel.bottom)], "rule")
        middle = (panel.top + panel.bottom) / 2
        self._drawing.text((16, middle), label, "middle", "note", is_upright=True)

    def _time_axis(self) -> None:
        bottom = self.level.bottom
        self._drawing.line([(LEFT, bottom), (RIGHT, bottom)], "ink")
        steps = [one for one in _TIME_STEPS_S if self._duration_s / one <= _MOST_TICKS]
        step = steps[0] if steps else self._duration_s
        for index in range(int(self._duration_s / step) + 1):
            x = self.x(index * step)
            self._drawing.line([(x, bottom), (x, bottom + 4)], "ink")
            self._drawing.text((x, bottom + 17), _clock(index * step, self._duration_s), "middle")
        unit = "seconds" if self._duration_s < _SECONDS_UP_TO_S else "hours:minutes:seconds"
        self._drawing.text(((LEFT + RIGHT) / 2, bottom + 32), unit, "middle", "note")


def _pitch_panel(pitch_st: Float64) -> PicturePanel | None:
    voiced = pitch_st[np.isfinite(pitch_st)]
    if not len(voiced):
        return None
    low, high = float(voiced.min()) - _MARGIN_ST, float(voiced.max()) + _MARGIN_ST
    spare = max(0.0, _LEAST_RANGE_ST - (high - low)) / 2
    return PicturePanel(_PITCH_TOP, _PITCH_BOTTOM, low - spare, high + spare)


def _median(pitch_st: Float64) -> float:
    voiced = pitch_st[np.isfinite(pitch_st)]
    return float(np.median(voiced)) if 2 * len(voiced) >= len(pitch_st) else math.nan


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield the runs of points that have a value."""
    run: list[Point] = []
    for point in points:
        if math.isnan(point[1]):
            if run:
                yield run
            run = []
        else:
            run.append(point)
    if run:
        yield run


def _clock(time_s: float, duration_s: float) -> str:
    if duration_s < _SECONDS_UP_TO_S:
        return f"{time_s:.10g}"
    return clock(round(time_s), hour_digits=1)
