"""The report in a browser: its words, its tables by keyboard, no requests."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from ugsd_privacy.reports.model import Report

from tests.browser.browsing import browsing, emulate, resize
from tests.browser.words import PIECES, SENTENCES, USER

pytestmark = pytest.mark.slow


def marked(driver: Chrome) -> list[list[tuple[int, int, str]]]:
    """Return position, token and text of the marked words, by caption, in order of time."""
    rows = driver.find_elements(By.CSS_SELECTOR, "tr[id^=caption-]")
    return [
        [
            (
                int(mark.get_attribute("data-position")),
                int(mark.get_attribute("data-token")),
                driver.execute_script("return arguments[0].firstChild.data", mark),
            )
            for mark in row.find_elements(By.CSS_SELECTOR, "mark[data-position]")
        ]
        for row in rows
    ]


def test_report_loads_nothing_and_logs_no_error(shown: Chrome, page: Path) -> None:
    assert shown.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_marked_words_are_those_of_the_log(shown: Chrome, report: Report) -> None:
    expected = [
        [(w.position, w.token, w.text.strip()) for w in row.content if w.kind == "word"]
        for row in report.captions
    ]
    assert marked(shown) == expected
    assert expected[2] == [(i, PIECES.index(f" {w}"), w) for i, w in
                           enumerate(SENTENCES[2].split()[:4])]  # fmt: skip
    assert [len(row) for row in expected] == [2, 3, 4]
    assert USER in shown.find_element(By.TAG_NAME, "h1").text


def test_tables_are_sorted_by_keyboard(shown: Chrome) -> None:
    heads = shown.find_elements(By.CSS_SELECTOR, "[aria-labelledby=captions] thead th")
    (tokens,) = [head for head in heads if "Tokens" in head.text]
    button = tokens.find_element(By.TAG_NAME, "button")
    shown.execute_script("arguments[0].focus()", button)
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    for keys, direction, lengths in (
        (Keys.ENTER, "ascending", [2, 3, 4]),
        (Keys.SPACE, "descending", [4, 3, 2]),
        (Keys.ENTER, "ascending", [2, 3, 4]),
    ):
        shown.switch_to.active_element.send_keys(keys)
        assert tokens.get_attribute("aria-sort") == direction
        assert [len(row) for row in marked(shown)] == lengths
        assert shown.execute_script(outline) == "solid"


def test_tables_are_filtered_by_keyboard(shown: Chrome) -> None:
    box = shown.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] input")
    box.send_keys("ANGRY")
    rows = shown.find_elements(By.CSS_SELECTOR, "tr[id^=caption-]")
    assert [row.is_displayed() for row in rows].count(True) == 0, "it is the fourth word"
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("MAN SOUNDS")
    assert [row.is_displayed() for row in rows] == [False, True, False]
    assert shown.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] output").text == "1 of 3"
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    assert all(row.is_displayed() for row in rows)


def test_sorting_is_announced_without_arrows_in_names(shown: Chrome) -> None:
    button = shown.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] thead button")
    status = shown.find_element(By.CSS_SELECTOR, "main > [role=status]")
    assert status.size["height"] <= 1, "only for screen readers"
    for direction in ("ascending", "descending"):
        button.send_keys(Keys.ENTER)
        assert status.get_attribute("textContent") == f"Sorted by Time (UTC), {direction}"
        assert button.accessible_name == "Time (UTC)"
    button.send_keys(Keys.ENTER)


def test_filter_without_matches_is_announced(shown: Chrome) -> None:
    box = shown.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] input")
    output = shown.find_element(By.CSS_SELECTOR, "[aria-labelledby=captions] output")
    box.send_keys("<b>zebra")
    assert output.text == "No row has “<b>zebra”"
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    assert output.text == "3 of 3"


MISPLACED_STOPS = """
return [...document.querySelectorAll(".scroll")]
  .filter(e => (e.scrollWidth > e.clientWidth) !== (e.getAttribute("tabindex") === "0"))
  .map(e => e.getAttribute("aria-label"));
"""


def test_only_overflowing_tables_are_tab_stops(shown: Chrome) -> None:
    stops = []
    for width in (1400, 360, 1400):
        resize(shown, width)
        WebDriverWait(shown, 5).until(lambda driver: not driver.execute_script(MISPLACED_STOPS))
        stops.append(len(shown.find_elements(By.CSS_SELECTOR, ".scroll[tabindex]")))
    shown.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert stops[0] == stops[2] == 0
    assert stops[1] >= 3


def test_page_has_no_animation(shown: Chrome) -> None:
    still = ["transition-duration", "animation-name", "scroll-behavior"]
    found = shown.execute_script(
        "return [...new Set([...document.querySelectorAll('*')].map("
        "e => arguments[0].map(p => getComputedStyle(e).getPropertyValue(p)).join(' ')))]",
        still,
    )
    assert found == ["0s none auto"]


CONTRAST = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = c => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const luminance = c => .2126 * light(c[0]) + .7152 * light(c[1]) + .0722 * light(c[2]);
const ground = e => { for (; e; e = e.parentElement) {
  const c = rgb(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
const worst = [];
for (const e of document.querySelectorAll("body *")) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  if (["SCRIPT", "STYLE", "title", "desc"].includes(e.tagName)) continue;
  const style = getComputedStyle(e), svg = e.namespaceURI.endsWith("svg");
  const pair = [luminance(rgb(svg ? style.fill : style.color)), luminance(ground(e))];
  const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  if (ratio < 4.5) worst.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio}`);
}
return worst;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(shown: Chrome, scheme: str) -> None:
    emulate(shown, prefers_color_scheme=scheme)
    ground = shown.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert shown.execute_script(CONTRAST) == []
    if folder := os.environ.get("SCREENSHOTS"):
        size = shown.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        shot = {"captureBeyondViewport": True, "clip": size | {"x": 0, "y": 0, "scale": 1}}
        data = shown.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
        (Path(folder) / f"report-{scheme}.png").write_bytes(base64.b64decode(data))


def test_report_is_readable_without_scripts(page: Path, report: Report, tmp_path: Path) -> None:
    with browsing(page, tmp_path, scripts=False) as driver:
        assert not driver.find_elements(By.CSS_SELECTOR, "th button, input")
        assert [len(row) for row in marked(driver)] == [2, 3, 4]
        assert "What is protected" in driver.find_element(By.ID, "protection").text
        assert len(driver.find_elements(By.CSS_SELECTOR, "figure svg[role=img]")) == 2
        assert not driver.find_elements(By.CSS_SELECTOR, ".scroll:not([tabindex='0'])")
