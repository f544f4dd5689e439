"""Charts show what the days contain: no number without a bound, and space for idle days."""

from __future__ import annotations

import re
import sys
from datetime import date, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reports.charts import bytes_chart, epsilon_chart
from ugsd_privacy.reports.model import DayRow
from ugsd_privacy.reports.parts import Amounts

FREE = -1.0
"""Marks a lifetime without a bound."""
FIRST = date(2025, 12, 29)
_NUMBER = re.compile(r"[\d,.]+")
_DATE = re.compile(r"\d{1,2} [A-Z][a-z]{2}")


def day(at: int, epsilon: float | None = None, size: int = 1024) -> DayRow:
    lifetime = None
    if epsilon is not None:
        bound = None if epsilon == FREE else epsilon
        label = "none" if bound is None else "privacy" if bound <= 10 else "noise"
        lifetime = Guarantee(epsilon=bound, delta=1e-6, unit="lifetime", label=label)
    return DayRow(
        day=str(FIRST + timedelta(at)),
        amounts=Amounts(bytes=size),
        captions=1,
        epsilon=lifetime,
        lifetime=lifetime,
    )


def texts(svg: str) -> dict[str, tuple[float, float]]:
    """Texts of the chart, with their positions."""
    found = {}
    for element in ET.fromstring(svg).iter("text"):
        move = re.search(r"translate\(([\d.-]+)[ ,]+([\d.-]+)\)", element.get("transform", ""))
        x, y = move.groups() if move else (element.get("x", "nan"), element.get("y", "nan"))
        found["".join(element.itertext()).strip()] = float(x), float(y)
    return found


def paths(svg: str, **attributes: str) -> list[list[tuple[float, float]]]:
    return [
        [
            (float(x), float(y))
            for x, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path.get("d", ""))
        ]
        for path in ET.fromstring(svg).iter("path")
        if all(path.get(key.replace("_", "-")) == value for key, value in attributes.items())
    ]


def bars(svg: str) -> list[tuple[float, float]]:
    """Left and right edges of the bars."""
    found = [box for box in ET.fromstring(svg).iter("rect") if box.get("fill") == "var(--bar)"]
    lefts = [float(box.get("x", "nan")) for box in found]
    widths = [float(box.get("width", "nan")) for box in found]
    return [(left, left + width) for left, width in zip(lefts, widths, strict=True)]


@pytest.mark.parametrize("count", [1, 8, 91, 365])
@pytest.mark.parametrize("cap", [None, 20.0])
def test_without_noise_no_number_is_drawn(count: int, cap: float | None) -> None:
    chart = epsilon_chart([day(at, FREE) for at in range(count)], cap)
    written = texts(chart.svg)
    assert "no bound on any day (no noise)" in written
    assert not [text for text in written if _NUMBER.fullmatch(text) and len(text) < 4]
    assert "epsilon so far" not in written
    assert "stroke-dasharray" not in chart.svg
    assert "no guarantee (no noise)" in chart.description


def test_unbounded_days_are_drawn_below_the_scale() -> None:
    chart = epsilon_chart([day(0, 1.0), day(1, 2.0), day(2, FREE), day(5, FREE), day(8, 0.5)], None)
    written = texts(chart.svg)
    assert written["no bound (no noise)"][1] > written["0"][1]
    strip = [e for e in ET.fromstring(chart.svg).iter("rect") if "url(#" in e.get("fill", "")]
    assert len(strip) == 1, "it covers both days and the idle ones between"
    lines = paths(chart.svg, stroke="var(--line)", fill="none")
    assert not [y for line in lines for _, y in line if y > written["0"][1]]
    assert "On 2 of 5 days it has no bound, because there was no noise" in chart.description


def test_epsilon_is_constant_until_the_next_reported_day() -> None:
    svg = epsilon_chart([day(0, 1.0), day(1, 2.0), day(7, 4.0)], None).svg
    lines = paths(svg, stroke="var(--line)", fill="none")
    (line,) = [line for line in lines if len(line) > 4]
    moves = [(a, b) for a, b in pairwise(line) if a != b]
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in moves), "the line has a slope"
    level = [b[0] - a[0] for a, b in moves if a[1] == b[1]]
    assert level == pytest.approx([level[0], 6 * level[0], level[0]], rel=1e-3)


def test_decrease_of_epsilon_is_explained() -> None:
    assert "when the owner resets it" in epsilon_chart([day(0, 3.0), day(1, 1.0)], None).description
    assert "when the owner resets it" in epsilon_chart([day(0, FREE), day(1)], None).description
    assert (
        "when the owner resets it"
        not in epsilon_chart([day(0, 1.0), day(1, FREE)], None).description
    )


@pytest.mark.parametrize(
    ("chart", "label"),
    [
        (epsilon_chart([day(0, 3.0), day(1, 4.0)], 20.0), "cap 20"),
        (bytes_chart([day(0), day(3)], 2048), "cap 2,048"),
    ],
    ids=["epsilon", "bytes"],
)
def test_cap_line_is_labelled_with_its_value(chart, label: str) -> None:
    dashed = [e for e in ET.fromstring(chart.svg).iter("path") if e.get("stroke-dasharray")]
    assert [e.get("stroke") for e in dashed] == ["var(--limit)"]
    (_, y), (end, _) = [
        tuple(map(float, at)) for at in re.findall(r"[ML] (\S+) (\S+)", dashed[0].get("d", ""))
    ]
    text_x, text_y = texts(chart.svg)[label]
    assert text_x > end
    assert abs(text_y - y) < 8
    assert label.removeprefix("cap ") in chart.description


def test_distant_cap_is_text_and_leaves_the_scale() -> None:
    chart = epsilon_chart([day(0, 3.0), day(1, 4.0)], 1000.0)
    assert "cap 1,000, above this scale" in texts(chart.svg)
    assert "stroke-dasharray" not in chart.svg
    assert "No cap per lifetime is set" in epsilon_chart([day(0, 3.0)], None).description


def test_days_without_egress_take_up_space() -> None:
    (a, _), (b, _), (c, _) = bars(bytes_chart([day(0), day(1), day(11)], None).svg)
    assert (c - b) / (b - a) == pytest.approx(10, rel=1e-3)


def test_bar_of_single_day_is_narrow() -> None:
    svg = bytes_chart([day(0)], None).svg
    ((left, right),) = bars(svg)
    width = float(ET.fromstring(svg).get("viewBox", "").split()[2])
    assert width / 40 < right - left < width / 8


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 8, 14, 31, 32, 91, 200, 365, 800, 3650])
def test_axis_has_few_dates_for_any_span(count: int) -> None:
    days = [day(at) for at in range(0, count, 1 if count < 400 else 97)]
    written = texts(bytes_chart(days, None).svg)
    dates = [text for text in written if _DATE.match(text)]
    assert 1 <= len(dates) <= 6
    assert {text for text in written if re.fullmatch(r"20\d\d", text)}
    assert "day (UTC)" in written


def test_day_with_only_a_reset_has_no_bytes() -> None:
    chart = bytes_chart([day(0), day(1, size=0), day(2, size=4096)], None)
    assert chart.description.startswith(
        "5,120 bytes were sent on 2 days; most on 2025-12-31, 4,096."
    )
    assert bytes_chart([day(0, size=0)], None).description.startswith(
        "0 bytes were sent on 0 days."
    )


def test_chart_changes_no_global_xml_state(monkeypatch) -> None:
    def register(*_: object) -> None:
        raise AssertionError("this changes the whole process")

    monkeypatch.setattr(ET, "register_namespace", register)
    first = bytes_chart([day(0)], None)
    assert first == bytes_chart([day(0)], None), "the same bytes"


def test_charts_need_no_drawing_library(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert bars(bytes_chart([day(0)], None).svg)
    assert paths(epsilon_chart([day(0, 1.0)], 2.0).svg, stroke="var(--line)")


@pytest.mark.parametrize("size", [1, 2, 999, 1024, 10**6, 10**12])
def test_height_of_bar_is_proportional_to_its_value(size: int) -> None:
    chart = bytes_chart([day(0, size=size), day(1, size=4 * size)], 5.0 * size)
    low, high = [e for e in ET.fromstring(chart.svg).iter("rect") if e.get("fill") == "var(--bar)"]
    assert float(high.get("height", "nan")) == pytest.approx(
        4 * float(low.get("height", "nan")), abs=0.05
    )
    (cap,) = paths(chart.svg, stroke="var(--limit)")
    floor = float(high.get("y", "nan")) + float(high.get("height", "nan"))
    assert floor - cap[0][1] == pytest.approx(5 * float(low.get("height", "nan")), abs=0.05)


def test_tick_labels_are_at_their_values() -> None:
    chart = epsilon_chart([day(0, 3.0), day(1, 4.0)], 5.0)
    written = texts(chart.svg)
    ticks = {float(text): y for text, (_, y) in written.items() if re.fullmatch(r"[\d.]+", text)}
    ticks = {value: y for value, y in ticks.items() if value < 100}
    assert 3 <= len(ticks) <= 6
    unit = (ticks[0.0] - ticks[max(ticks)]) / max(ticks)
    assert all(
        ticks[0.0] - y == pytest.approx(unit * value, abs=0.05) for value, y in ticks.items()
    )
    assert ticks[0.0] - written["cap 5"][1] == pytest.approx(5 * unit, abs=0.05)


def test_chart_has_unique_ids_and_no_style() -> None:
    days = [day(0, 1.0), day(1, FREE)]
    charts = bytes_chart(days, 2000), epsilon_chart(days, 20.0)
    names = [set(re.findall(r'\bid="([^"]+)"', chart.svg)) for chart in charts]
    assert not names[0] & names[1]
    for chart, own in zip(charts, names, strict=True):
        root = ET.fromstring(chart.svg)
        assert root.get("role") == "img"
        assert [(e.tag, e.text) for e in root[:2]] == [
            ("title", chart.title),
            ("desc", chart.description),
        ]
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', chart.svg)
        assert {a or b for a, b in used} <= own
        assert "style=" not in chart.svg
        assert "xmlns" not in chart.svg
