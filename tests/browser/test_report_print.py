"""The printed report: every row, under its head, uncut."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from pypdf import PdfReader
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.model import Report, Word

from tests.browser.browsing import browsing, emulate, resize

pytestmark = pytest.mark.slow

CAPTIONS = 40
WORDS = "A woman sounds quietly content and rather tired while she speaks".split()  # noqa: SIM905
PAPER_CSS_PX = (1032, 703)
"""Page widths of A4 without margins: landscape, 273 mm, and upright, 186 mm, for browsers that do
not rotate pages."""


@pytest.fixture(scope="module")
def long(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The report with many more captions, each with its own word."""
    rows = []
    for at in range(CAPTIONS):
        content = tuple(
            Word(position=i, token=1, text=f" {word}", disclosure="summary", has_state=i == 0)
            for i, word in enumerate([*WORDS, f"word{at}"])
        )
        rows.append(
            report.captions[0].model_copy(update={"caption": f"{at:032x}", "content": content})
        )
    path = tmp_path_factory.mktemp("long") / "report.html"
    path.write_text(report_html(report.model_copy(update={"captions": tuple(rows)})), "utf-8")
    with browsing(path, tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def printed(driver: Chrome) -> bytes:
    asked = {"printBackground": False, "preferCSSPageSize": True}
    found: dict[str, Any] = driver.execute_cdp_cmd("Page.printToPDF", asked)
    return base64.b64decode(found["data"])


def read(pdf: bytes) -> list[str]:
    """Return the text of each page."""
    return [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]


def test_printed_pages_repeat_heads_and_hold_every_caption(long: Chrome) -> None:
    box = long.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] input")
    box.send_keys("word7")
    pages = read(printed(long))
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    found = [re.findall(r"\bword\d+", page) for page in pages]
    assert [word for page in found for word in page] == [f"word{at}" for at in range(CAPTIONS)]
    for page, words in zip(pages, found, strict=True):
        if words:
            assert re.search(r"What was sent\s+Disclosure", page)
    assert not re.search(f"Show rows|of {CAPTIONS}", "".join(pages))
    assert 1 < len([words for words in found if words]) <= 6


def test_printed_pages_are_landscape_and_not_cut(long: Chrome) -> None:
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed(long))
    assert sizes
    assert all(float(width) > float(height) for width, height in sizes)
    emulate(long, "print")
    found = []
    for paper in PAPER_CSS_PX:
        resize(long, paper)
        words = long.find_element(By.CSS_SELECTOR, "td.words").size["width"]
        scrolled = long.execute_script("return document.documentElement.scrollWidth")
        found.append((words / paper, scrolled))
    emulate(long)
    long.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    for (share, scrolled), paper in zip(found, PAPER_CSS_PX, strict=True):
        assert share >= 0.35
        assert scrolled <= paper, "it is cut off, or shrunk"


def test_no_page_break_within_a_row_or_chart(long: Chrome) -> None:
    emulate(long, "print")
    found = long.execute_script(
        "return [...document.querySelectorAll('tr, figure')]"
        ".filter(e => getComputedStyle(e).breakInside !== 'avoid').length"
    )
    emulate(long)
    assert found == 0


def test_folded_details_are_printed_and_fold_again(shown: Chrome) -> None:
    shown.execute_script(
        "const d = document.createElement('details'); d.innerHTML = '<p>unfolded</p>';"
        "document.querySelector('main').append(d)"
    )
    pages = read(printed(shown))
    assert sum("unfolded" in page for page in pages) == 1
    details = shown.find_element(By.TAG_NAME, "details")
    assert details.get_attribute("open") is None
    shown.execute_script("document.querySelector('details').remove()")
