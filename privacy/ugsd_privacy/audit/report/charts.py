"""Charts of a report as inline SVG, which follow the page's colours and are read out in words.

The same report gives the same bytes. Matplotlib draws; what it writes is then rid of styles, which
the page's policy forbids, and of names that would stand twice on a page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET  # written by matplotlib from numbers and dates alone

from ugsd_privacy.audit.report.model import DayRow
from ugsd_privacy.audit.report.telling import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bytes_chart", "epsilon_chart"]

# Matplotlib, an extra, loads where it draws.
# ruff: noqa: PLC0415

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_COLOURS = {"#010101": "ink", "#020202": "bar", "#030303": "line", "#040404": "limit"}
"""Stand-ins, and the page's variable for each."""
_INK, _BAR, _LINE, _LIMIT = _COLOURS
_STYLE: Any = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 11,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_INCHES = (8.0, 2.8)
_MOST_LABELS = 8
_DROPPED = {"font-family", "font-style", "font-variant", "font-stretch"}


def bytes_chart(days: Sequence[DayRow], cap: float | None) -> str:
    """Bytes a day as bars, and the day's cap as a line where there is one near."""
    amounts = [day.amounts.bytes for day in days]

    def draw(axes: Axes) -> None:
        axes.bar(range(len(days)), amounts, color=_BAR, width=0.7, label="bytes that left")
        _cap(axes, cap, max(amounts))
        axes.set_ylabel("bytes")

    most = max(days, key=lambda day: day.amounts.bytes)
    told = f"{number(sum(amounts))} bytes on {len(days)} days; most, {number(max(amounts))}, on "
    told += f"{most.day}. The cap of a day is {number(cap)}."
    return _drawn("bytes", "Bytes that left, by day", told, days, draw)


def epsilon_chart(days: Sequence[DayRow], cap: float | None) -> str:
    """Epsilon of a lifetime as it grew, and its cap; days without a bound stand at the top."""
    bounded = [
        (at, 0.0 if day.lifetime is None else day.lifetime.epsilon)
        for at, day in enumerate(days)
        if day.lifetime is None or day.lifetime.epsilon is not None
    ]
    values = [value for _, value in bounded if value is not None]
    unbounded = [
        at
        for at, day in enumerate(days)
        if day.lifetime is not None and day.lifetime.epsilon is None
    ]
    top = max([*values, cap or 0.0, 1.0]) * 1.15

    def draw(axes: Axes) -> None:
        if bounded:
            axes.plot(*zip(*bounded, strict=True), color=_LINE, marker="o", label="epsilon so far")
        if unbounded:
            axes.plot(
                unbounded, [top] * len(unbounded), "x", color=_LIMIT, label="no bound: no noise"
            )
        _cap(axes, cap, top)
        axes.set_ylim(0, top * 1.1)
        axes.set_ylabel("epsilon")

    end = days[-1].lifetime
    told = f"At the end: {'no numbers left' if end is None else end.text()}. Its cap is "
    told += f"{number(cap)}. Without a bound on {len(unbounded)} of {len(days)} days."
    return _drawn("epsilon", "Epsilon of a lifetime", told, days, draw)


def _cap(axes: Axes, cap: float | None, most: float) -> None:
    if cap is not None and cap <= 4 * most:
        axes.axhline(cap, color=_LIMIT, linestyle="--", label="cap")


def _drawn(
    name: str, title: str, told: str, days: Sequence[DayRow], draw: Callable[[Axes], None]
) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context(_STYLE | {"svg.hashsalt": f"ugsd {name}"}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        step = -(-len(days) // _MOST_LABELS)
        axes.set_xticks(range(0, len(days), step), [day.day for day in days[::step]])
        figure.legend(loc="outside upper left", ncols=3)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure)
        figure.savefig(out, format="svg", metadata=metadata)
    return _inlined(out.getvalue(), name, title, told)


def _inlined(svg: bytes, name: str, title: str, told: str) -> str:
    root = ET.fromstring(svg)  # noqa: S314  # as above
    for parent in root.iter():
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    used = {value[1:] for e in root.iter() if (value := e.get(_HREF))}
    used |= set(re.findall(r"url\(#(\w+)\)", svg.decode()))
    for element in root.iter():
        _restyle(element, name, used)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    for tag, text in (("desc", told), ("title", title)):
        element = ET.Element(f"{{{_SVG}}}{tag}", id=f"{name}-{tag}")
        element.text = text
        root.insert(0, element)
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _restyle(element: ET.Element, name: str, used: set[str]) -> None:
    """Presentation attributes in place of a style; only names that are used, made the chart's."""
    own = element.attrib.pop("id", None)
    if own in used:
        element.set("id", f"{name}-{own}")
    link = element.attrib.pop(_HREF, None)
    if link is not None:
        element.set("href", f"#{name}-{link[1:]}")
    style = element.attrib.pop("style", "")
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        size = re.search(r"([\d.]+)px", value)
        if key == "font" and size is not None:
            element.set("font-size", size[1])
        elif key not in _DROPPED | {"font"}:
            element.set(key, value)
    for key, value in element.attrib.items():
        if value in _COLOURS:
            element.set(key, f"var(--{_COLOURS[value]})")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    if element.tag == f"{{{_SVG}}}text" and "fill" not in element.attrib:
        element.set("fill", "var(--ink)")
