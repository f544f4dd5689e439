"""Charts in a browser: legible at any width and over any number of days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.model import CapRow, DayRow, Report
from ugsd_privacy.reports.parts import Amounts

from tests.browser.browsing import resize

pytestmark = pytest.mark.slow

SPANS = (1, 2, 6, 8, 91, 365, 3650)


def over(report: Report, span: int, *, has_noise: bool) -> Report:
    """Return the same report over ``span`` days, a part of which had no noise."""
    days = []
    for at in range(0, span, 1 + span // 400):
        without = not has_noise or span // 3 <= at < span // 2
        epsilon = None if without else 9 * (at + 1) / span
        bound = Guarantee(
            epsilon=epsilon, delta=1e-6, unit="lifetime", label="none" if without else "privacy"
        )
        day = str(date(2025, 10, 27) + timedelta(at))
        amounts = Amounts(bytes=1024 * (1 + at % 7))
        days.append(DayRow(day=day, amounts=amounts, captions=1, epsilon=bound, lifetime=bound))
    limits = {"bytes_per_day": 8192.0, "epsilon_per_lifetime": 10.0}
    caps = [
        CapRow(cap=cap, configured=limit, on_device=None, used=None, remaining=None, is_met=False)
        for cap, limit in limits.items()
    ]
    return report.model_copy(update={"days": tuple(days), "caps": tuple(caps)})


@pytest.fixture(params=[(span, has_noise) for span in SPANS for has_noise in (True, False)])
def charted(
    request: pytest.FixtureRequest, shown: Chrome, page: Path, report: Report, tmp_path: Path
) -> Iterator[Chrome]:
    span, has_noise = request.param
    other = tmp_path / "report.html"
    other.write_text(report_html(over(report, span, has_noise=has_noise)), encoding="utf-8")
    shown.get(other.as_uri())
    yield shown
    shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    shown.get(page.as_uri())


LAID_OUT = """
const svgs = [...document.querySelectorAll("figure svg")];
const clash = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
  && a.top < b.bottom - 2 && b.top < a.bottom - 2;
return svgs.map(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const texts = [...svg.querySelectorAll("text")];
  const boxes = texts.map(text => text.getBoundingClientRect());
  const whole = svg.getBoundingClientRect();
  const clashes = texts.flatMap((text, i) => texts.slice(i + 1)
    .filter((_, k) => clash(boxes[i], boxes[i + 1 + k]))
    .map(other => [text.textContent, other.textContent]));
  return {
    clashes,
    cut: texts.filter((_, i) => boxes[i].left < whole.left - 1 || boxes[i].right > whole.right + 1)
      .map(text => text.textContent),
    smallest: Math.min(...texts.map(t => parseFloat(getComputedStyle(t).fontSize) * scale)),
    widest: Math.max(0, ...[...svg.querySelectorAll('[fill="var(--bar)"]')]
      .map(bar => bar.getBoundingClientRect().width)),
    caption: svg.closest("figure").querySelector("figcaption").innerText,
    title: svg.querySelector("title").textContent, desc: svg.querySelector("desc").textContent,
  };
});
"""


def test_charts_are_legible_and_described_at_any_width(charted: Chrome) -> None:
    for width in (360, 768, 1400):
        resize(charted, width)
        charts = charted.execute_script(LAID_OUT)
        assert len(charts) == 2
        for chart in charts:
            assert chart["clashes"] == []
            assert chart["cut"] == []
            assert chart["smallest"] >= 11
            assert chart["widest"] <= 100
            assert chart["caption"] == f"{chart['title']}. {chart['desc']}"
        scrolled = "return document.documentElement.scrollWidth"
        assert charted.execute_script(scrolled) <= width, "the page itself scrolls sideways"
