"""Charts of a report as inline SVG, which follow the page's colours and are told in words.

Days stand where the calendar has them, the idle ones too. The same report gives the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from ugsd_privacy.reports.inline_svg import COLOURS, inline
from ugsd_privacy.reports.model import DayRow
from ugsd_privacy.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Chart", "bytes_chart", "epsilon_chart"]

# Matplotlib, an extra, loads where it draws.
# ruff: noqa: PLC0415

_INK, _BAR, _LINE, _LIMIT, _RULE = COLOURS
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 12,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 1,
    "svg.fonttype": "none",  # text stays text
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WIDTH, _PLOT_HEIGHT, _STRIP_HEIGHT = 9.0, 2.9, 0.6
"""Inches, of 72 units of the SVG each."""
_STRIP_ALONE_HEIGHT = 1.35
_LEAST_SPAN_DAYS = 9
"""On the axis, so that a single day is no slab."""
_MOST_LABELS = 6
_MOST_MARKERS = 40
_MONTHS_APART = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12_000, 24_000)
_NEAR = 8
"""A cap further above what was used, as its multiple, is told and not drawn."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Whatever the locale calls them."""


class Chart(NamedTuple):
    """What a page shows of a chart."""

    title: str
    description: str
    """The chart in words."""
    svg: str


class _Span(NamedTuple):
    """From the begin of a day until the next one that is told of, as ordinals."""

    begin: float
    end: float
    epsilon: float | None
    """``None`` where nothing bounds it."""


def bytes_chart(days: Sequence[DayRow], cap: float | None) -> Chart:
    """Bytes a day as bars, and the day's cap as a line where there is one near."""
    busy = [day for day in days if day.amounts.bytes]
    amounts = [day.amounts.bytes for day in busy]
    told = f"{number(sum(amounts))} bytes left on {_days(len(busy))}"
    if busy:
        most = max(busy, key=lambda day: day.amounts.bytes)
        told += f"; most on {most.day}, {number(most.amounts.bytes)}"
    told += f". {_cap_told('day', cap)}"

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        first, last = _date_axis(axes, days)
        axes.bar(
            [_day_number(day) for day in busy],
            amounts,
            color=_BAR,
            width=max(0.8, (last - first) / 500),
        )
        _value_axis(axes, "bytes", max(amounts, default=0), cap)

    return _chart("bytes", "Bytes that left, by day", told, draw, _PLOT_HEIGHT)


def epsilon_chart(days: Sequence[DayRow], cap: float | None) -> Chart:
    """Epsilon of a lifetime as it grew, and its cap. Days without a bound stand in a strip of
    their own, on no scale."""
    spans = _spans(days)
    bounded = [span for span in spans if span.epsilon is not None]
    runs = [list(run) for _, run in groupby(spans, key=lambda span: span.epsilon is None)]
    unbounded = [(run[0].begin, run[-1].end) for run in runs if run[0].epsilon is None]
    height = _PLOT_HEIGHT if bounded else 0.0
    if unbounded:
        height += _STRIP_HEIGHT if bounded else _STRIP_ALONE_HEIGHT

    def draw(figure: Figure) -> None:
        ratios = [_PLOT_HEIGHT] * bool(bounded) + [_STRIP_HEIGHT / 2] * bool(unbounded)
        parts = figure.subplots(len(ratios), squeeze=False, sharex=True, height_ratios=ratios)
        if bounded:
            _steps(parts[0, 0], spans, cap)
        if unbounded:
            _strip(parts[-1, 0], unbounded, is_alone=not bounded)
        _date_axis(parts[-1, 0], days)

    return _chart("epsilon", "Epsilon of a lifetime, by day", _told(days, cap), draw, height)


def _told(days: Sequence[DayRow], cap: float | None) -> str:
    end = days[-1].lifetime
    told = f"On {days[-1].day}: {'no numbers left' if end is None else end.text()}. "
    told += _cap_told("lifetime", cap)
    values = [_lifetime(day) for day in days]
    if without := values.count(None):
        told += f" Without a bound, for want of noise, on {without} of {_days(len(days))}."
    ranks = [math.inf if value is None else value for value in values]
    if any(after < before for before, after in pairwise(ranks)):
        told += " It falls where the owner had it begin anew."
    return told


def _cap_told(window: str, cap: float | None) -> str:
    return f"No cap is set on a {window}." if cap is None else f"A {window}'s cap is {number(cap)}."


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


def _steps(axes: Axes, spans: Sequence[_Span], cap: float | None) -> None:
    values = [math.nan if span.epsilon is None else span.epsilon for span in spans]
    edges = [*(span.begin for span in spans), spans[-1].end]
    axes.stairs(values, edges, baseline=None, color=_LINE, linewidth=2)
    axes.stairs(values, edges, baseline=0, color=_LINE, fill=True, alpha=0.15)
    if len(spans) <= _MOST_MARKERS:
        axes.plot([span.begin + 0.5 for span in spans], values, "o", color=_LINE, markersize=5)
    most = max(span.epsilon for span in spans if span.epsilon is not None)
    _value_axis(axes, "epsilon so far", most, cap)


def _strip(axes: Axes, unbounded: Sequence[tuple[float, float]], *, is_alone: bool) -> None:
    axes.broken_barh(
        [(begin, end - begin) for begin, end in unbounded],
        (0, 1),
        facecolor="none",
        edgecolor=_LIMIT,
        linewidth=0,
        hatch="////",
    )
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    told = "no bound on any day (no noise)" if is_alone else "no bound (no noise)"
    axes.set_title(told, loc="left", size="medium", color=_LIMIT)


def _value_axis(axes: Axes, label: str, most: float, cap: float | None) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    is_near = cap is not None and (cap <= _NEAR * most or not most)
    top = max(most, cap if cap is not None and is_near else 0.0) or 1.0
    axes.set_ylim(0, 1.12 * top)
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.grid(visible=True, axis="y")
    if cap is not None and is_near:
        axes.axhline(cap, color=_LIMIT, linestyle="--", linewidth=1.5)
        axes.annotate(
            f"cap {number(cap)}",
            (1, cap),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            verticalalignment="center",
            color=_LIMIT,
        )
    elif cap is not None:
        told = f"cap {number(cap)}, above this scale"
        axes.set_title(told, loc="right", size="medium", color=_LIMIT)


def _date_axis(axes: Axes, days: Sequence[DayRow]) -> tuple[float, float]:
    """Returns the axis' ends."""
    first, last = _day_number(days[0]), _day_number(days[-1])
    margin = max(0.75, (_LEAST_SPAN_DAYS - (last - first)) / 2, (last - first) / 100)
    ticks = _ticks(date.fromisoformat(days[0].day), date.fromisoformat(days[-1].day))
    axes.set_xlim(first - margin, last + margin)
    axes.set_xticks([tick.toordinal() for tick in ticks], _labels(ticks))
    axes.set_xlabel("day (UTC)")
    return axes.get_xlim()


def _ticks(first: date, last: date) -> list[date]:
    """A few: some days apart, or else at the begin of months or years."""
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


def _labels(dates: Sequence[date]) -> list[str]:
    """The year stands under the first date of each."""
    years = [None, *(day.year for day in dates)]
    return [
        f"{day.day} {_MONTHS[day.month - 1]}" + (f"\n{day.year}" if day.year != before else "")
        for day, before in zip(dates, years, strict=False)
    ]


def _chart(
    name: str, title: str, told: str, draw: Callable[[Figure], None], height: float
) -> Chart:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context(_STYLE | {"svg.hashsalt": f"ugsd {name}"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=metadata)
    return Chart(title, told, inline(out.getvalue(), name, title, told))
