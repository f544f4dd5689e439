"""Draw a report's charts as inline SVG in the page's colours, each with a description in words.

The time axis is linear: days without egress take up space too. The same report gives the same
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from itertools import groupby, pairwise
from typing import NamedTuple

from ugsd_privacy.reports.model import DayRow
from ugsd_privacy.reports.svg_drawing import FONT_SIZE, Drawing
from ugsd_privacy.reports.wording import number

__all__ = ["Chart", "bytes_chart", "epsilon_chart"]

_WIDTH, _PLOT_HEIGHT, _STRIP_HEIGHT = 648.0, 150.0, 14.0
"""Sizes in units of the SVG."""
_ABOVE, _BELOW, _BESIDE = 26.0, 54.0, 28.0
"""Room for a line of text above a plot, for the dates below it, and at each side."""
_LETTER = 7.2
"""Upper bound on the width of a digit, for any font."""
_MOST_VALUES = 5
_LEAST_SPAN_DAYS = 9
"""Minimum length of the axis, so that a single day is not one wide bar."""
_MOST_LABELS = 6
_MOST_DOTS = 40
_MONTHS_APART = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12_000, 24_000)
_NEAR = 8
"""A cap above this multiple of what was used is written as text and not drawn."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""English names, whatever the locale."""


class Chart(NamedTuple):
    """A chart as a page shows it."""

    title: str
    description: str
    """What the chart shows, in words."""
    svg: str


class _Span(NamedTuple):
    """The time from the start of a reported day to the next reported one, as ordinals."""

    begin: float
    end: float
    epsilon: float | None
    """``None`` if nothing bounds it."""


def bytes_chart(days: Sequence[DayRow], cap: float | None) -> Chart:
    """Draw the bytes of each day as bars, and the daily cap as a line if it is on the scale."""
    busy = [day for day in days if day.amounts.bytes]
    amounts = [day.amounts.bytes for day in busy]
    text = f"{number(sum(amounts))} bytes were sent on {_days(len(busy))}"
    if busy:
        most = max(busy, key=lambda day: day.amounts.bytes)
        text += f"; most on {most.day}, {number(most.amounts.bytes)}"
    text += f". {_cap_text('day', cap)}"

    scale = _Scale.up_to(max(amounts, default=0), cap)
    axes = _Axes(days, left=scale.left, right=scale.right)
    bottom = _ABOVE + _PLOT_HEIGHT
    title = "Bytes sent, by day"
    drawing = Drawing("bytes", title, text, width=_WIDTH, height=bottom + _BELOW)
    _value_axis(drawing, axes, "bytes", scale)
    half = max(0.8, (axes.last - axes.first) / 500) / 2
    for day in busy:
        at = _day_number(day)
        top = scale.y(day.amounts.bytes)
        drawing.box(axes.x(at - half), top, axes.x(at + half), bottom, "bar")
    _cap_line(drawing, axes, scale)
    _date_axis(drawing, axes, days, bottom)
    return Chart(title, text, drawing.svg())


def epsilon_chart(days: Sequence[DayRow], cap: float | None) -> Chart:
    """Draw the lifetime epsilon as it grew, and its cap.

    Days without a bound are drawn in a separate strip without a scale.
    """
    spans = _spans(days)
    bounded = [span for span in spans if span.epsilon is not None]
    runs = [list(run) for _, run in groupby(spans, key=lambda span: span.epsilon is None)]
    unbounded = [(run[0].begin, run[-1].end) for run in runs if run[0].epsilon is None]
    most = max((span.epsilon for span in bounded if span.epsilon is not None), default=0.0)
    scale = _Scale.up_to(most, cap) if bounded else None
    axes = _Axes(days, left=scale.left, right=scale.right) if scale else _Axes(days)
    text, title = _epsilon_text(days, cap), "Lifetime epsilon, by day"
    bottom = (_ABOVE + _PLOT_HEIGHT) * bool(scale) + (_ABOVE + _STRIP_HEIGHT) * bool(unbounded)
    drawing = Drawing("epsilon", title, text, width=_WIDTH, height=bottom + _BELOW)
    if scale:
        _value_axis(drawing, axes, "epsilon so far", scale)
        for run in runs:
            _steps(drawing, axes, scale, run, has_dots=len(spans) <= _MOST_DOTS)
        _cap_line(drawing, axes, scale)
    if unbounded:
        top = bottom - _STRIP_HEIGHT
        drawing.hatched_boxes(
            [(axes.x(begin), top, axes.x(end), bottom) for begin, end in unbounded]
        )
        label = "no bound (no noise)" if scale else "no bound on any day (no noise)"
        drawing.text((axes.left, top - 8), label, "start", "limit")
    _date_axis(drawing, axes, days, bottom)
    return Chart(title, text, drawing.svg())


class _Scale(NamedTuple):
    """The vertical scale of a plot: its ticks, and the position of a value."""

    top: float
    ticks: tuple[float, ...]
    cap: float | None
    is_near: bool
    """Whether the cap is drawn on the scale."""

    @classmethod
    def up_to(cls, most: float, cap: float | None) -> _Scale:
        is_near = cap is not None and (cap <= _NEAR * most or not most)
        top = 1.12 * (max(most, cap if cap is not None and is_near else 0.0) or 1.0)
        power = 10.0 ** math.floor(math.log10(top / _MOST_VALUES))
        step = next(n * power for n in (1, 2, 5, 10, 20) if top / (n * power) <= _MOST_VALUES)
        ticks = tuple(step * count for count in range(int(top / step) + 1))
        return cls(top, ticks, cap, is_near)

    def y(self, value: float) -> float:
        return _ABOVE + _PLOT_HEIGHT * (1 - value / self.top)

    @property
    def left(self) -> float:
        """Width for the tick labels and the label of the axis."""
        return 2 * FONT_SIZE + 6 + _LETTER * max(len(_value(tick)) for tick in self.ticks)

    @property
    def right(self) -> float:
        """Width for the label of the cap."""
        has_label = self.cap is not None and self.is_near
        return max(_BESIDE, 8 + _LETTER * len(f"cap {number(self.cap)}") if has_label else 0.0)


class _Axes:
    """The time axis of a chart, and the position of a day."""

    def __init__(
        self, days: Sequence[DayRow], *, left: float = _BESIDE, right: float = _BESIDE
    ) -> None:
        first, last = _day_number(days[0]), _day_number(days[-1])
        margin = max(0.75, (_LEAST_SPAN_DAYS - (last - first)) / 2, (last - first) / 100)
        self.first, self.last = first - margin, last + margin
        self.left, self.right = left, _WIDTH - right

    def x(self, day: float) -> float:
        share = (day - self.first) / (self.last - self.first)
        return self.left + share * (self.right - self.left)


def _epsilon_text(days: Sequence[DayRow], cap: float | None) -> str:
    end = days[-1].lifetime
    text = f"On {days[-1].day}: {'no states were sent' if end is None else end.text()}. "
    text += _cap_text("lifetime", cap)
    values = [_lifetime(day) for day in days]
    if without := values.count(None):
        text += f" On {without} of {_days(len(days))} it has no bound, because there was no noise."
    ranks = [math.inf if value is None else value for value in values]
    if any(after < before for before, after in pairwise(ranks)):
        text += " It falls when the owner resets it."
    return text


def _cap_text(window: str, cap: float | None) -> str:
    return (
        f"No cap per {window} is set." if cap is None else f"The cap per {window} is {number(cap)}."
    )


def _days(count: int) -> str:
    return f"{number(count)} day{'' if count == 1 else 's'}"


def _lifetime(day: DayRow) -> float | None:
    return 0.0 if day.lifetime is None else day.lifetime.epsilon


def _day_number(day: DayRow) -> int:
    return date.fromisoformat(day.day).toordinal()


def _spans(days: Sequence[DayRow]) -> list[_Span]:
    begins = [_day_number(day) - 0.5 for day in days]
    ends = [*begins[1:], begins[-1] + 1]
    return [
        _Span(begin, end, _lifetime(day))
        for begin, end, day in zip(begins, ends, days, strict=True)
    ]


def _steps(
    drawing: Drawing, axes: _Axes, scale: _Scale, spans: Sequence[_Span], *, has_dots: bool
) -> None:
    """Draw a run of days that all have a bound; draw nothing for a run without one."""
    points, dots = [], []
    for span in spans:
        if span.epsilon is None:
            return
        y = scale.y(span.epsilon)
        points += [(axes.x(span.begin), y), (axes.x(span.end), y)]
        dots.append((axes.x(span.begin + 0.5), y))
    ends = [(points[-1][0], scale.y(0)), (points[0][0], scale.y(0))]
    drawing.area([*points, *ends], "line")
    drawing.line(points, "line", stroke_width="2")
    for dot in dots if has_dots else ():
        drawing.dot(dot, "line")


def _value_axis(drawing: Drawing, axes: _Axes, label: str, scale: _Scale) -> None:
    for tick in scale.ticks:
        y = scale.y(tick)
        drawing.line([(axes.left, y), (axes.right, y)], "rule", stroke_width="0.6")
        drawing.text((axes.left - 6, y + 4), _value(tick), "end")
    drawing.line([(axes.left, _ABOVE), (axes.left, _ABOVE + _PLOT_HEIGHT)], "ink")
    drawing.text((FONT_SIZE, _ABOVE + _PLOT_HEIGHT / 2), label, "middle", is_upright=True)


def _value(tick: float) -> str:
    return f"{tick:,.0f}" if 1000 <= tick < 1e12 else f"{tick:.6g}"


def _cap_line(drawing: Drawing, axes: _Axes, scale: _Scale) -> None:
    if scale.cap is None:
        return
    label = f"cap {number(scale.cap)}"
    if not scale.is_near:
        drawing.text((axes.right, _ABOVE - 10), f"{label}, above this scale", "end", "limit")
        return
    y = scale.y(scale.cap)
    dashes = {"stroke_width": "1.5", "stroke_dasharray": "6 3"}
    drawing.line([(axes.left, y), (axes.right, y)], "limit", **dashes)
    drawing.text((axes.right + 5, y + 4), label, "start", "limit")


def _date_axis(drawing: Drawing, axes: _Axes, days: Sequence[DayRow], bottom: float) -> None:
    drawing.line([(axes.left, bottom), (axes.right, bottom)], "ink")
    ticks = _ticks(date.fromisoformat(days[0].day), date.fromisoformat(days[-1].day))
    for tick, before in zip(ticks, [None, *ticks], strict=False):
        x = axes.x(tick.toordinal())
        drawing.line([(x, bottom), (x, bottom + 4)], "ink")
        drawing.text((x, bottom + 17), f"{tick.day} {_MONTHS[tick.month - 1]}", "middle")
        if before is None or before.year != tick.year:
            drawing.text((x, bottom + 32), str(tick.year), "middle")
    drawing.text(((axes.left + axes.right) / 2, bottom + 49), "day (UTC)", "middle")


def _ticks(first: date, last: date) -> list[date]:
    """Choose at most ``_MOST_LABELS`` dates: some days apart, or first days of months or years."""
    for step in (1, 2, 3, 7, 14):
        ordinals = range(first.toordinal(), last.toordinal() + 1, step)
        if len(ordinals) <= _MOST_LABELS:
            return [date.fromordinal(ordinal) for ordinal in ordinals]
    months = range(12 * first.year + first.month, 12 * last.year + last.month)  # after the first
    for step in _MONTHS_APART:
        ticks = [date(month // 12, month % 12 + 1, 1) for month in months if month % step == 0]
        if len(ticks) <= _MOST_LABELS:
            break
    return ticks
