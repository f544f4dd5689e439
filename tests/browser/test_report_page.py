"""The report as a browser shows it: its words, its tables by keyboard, its silence, its prints."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from ugsd_privacy.audit.report.gather import Budget, Period, gather, read_entries
from ugsd_privacy.audit.report.html import report_html
from ugsd_privacy.audit.report.model import Protection, Report, Verification
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.channel import ClientChannel, ServerChannel
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.keys import LogKey, VerifierKey
from ugsd_privacy.ledger import Decision, Ledger
from ugsd_privacy.owner import OwnerKey
from ugsd_privacy.wire import Disclosure

pytestmark = pytest.mark.slow

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,1600",
)  # fmt: skip
USER = "<img src=x onerror=alert(1)>"
NOW_S = 1_767_000_000
DAY_S = 86_400
SENTENCES = ("A woman sounds happy", "A man sounds <b>angry</b>", "A speaker sounds calm & slow")
PIECES = ["", *(f" {word}" for sentence in SENTENCES for word in sentence.split())]


@pytest.fixture(scope="module", autouse=True)
def _browser_is_there() -> None:
    if DRIVER is None or BROWSER is None:
        told = "needs Debian's chromium and chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Three captions on three days, of which 2, 3 and 4 words left."""
    folder, owner, clock = tmp_path_factory.mktemp("home"), OwnerKey.generate(), [float(NOW_S)]
    verifier, decisions = VerifierKey.generate(), []
    with Ledger(folder / "ledger") as ledger:
        egress = Egress(
            ledger=ledger, log_key=LogKey.generate(), owner=owner.public, limits=BudgetLimits(),
            user=USER, sigma=1.0, clock=lambda: clock[0], uptime=lambda: None,
        )  # fmt: skip
        for number, sentence in enumerate(SENTENCES):
            channel, server = ClientChannel(verifier.public), ServerChannel(verifier)
            hello = egress.seal_hello(channel)
            channel.receive_hello(server.receive_hello(hello.data, b"welcome"))
            caption = egress.begin_caption(channel)
            tokens = tuple(PIECES.index(f" {word}") for word in sentence.split()[: 2 + number])
            states = np.ones((1, 8), np.float32)
            block = Escalation(Disclosure.SUMMARY, 0, (), tokens, (0,), states)
            egress.seal_block(channel, caption, block)
            kept = (len(tokens), 6, 0.1, "kept", "sure: 0.1 below 0.2")
            decisions.append(Decision(int(clock[0]), USER, caption.id, *kept))
            clock[0] += DAY_S
        cap = (0, 5, 0.9, "withheld", "blocks_per_day: 2 used of 2, 1 more wanted")
        decisions.append(Decision(NOW_S, USER, bytes(16), *cap))
        note = egress.checkpoint()
        with ledger.reading() as view:
            entries, used = read_entries(view, owner, USER), view.used(USER, int(clock[0]) // 3600)
    return gather(
        entries,
        user=USER,
        period=Period(NOW_S, NOW_S + 9 * DAY_S),
        made_s=NOW_S + 3 * DAY_S,
        budget=Budget(BudgetLimits(epsilon_per_lifetime=20.0), {"tokens_per_day": 50}, used),
        decisions=decisions,
        verification=Verification(outcome="verified", message="all adds up", size=6, checkpoints=1),
        protection=Protection(never=("the recording",), unprotected=("which words left",)),
        words=PIECES.__getitem__,
        vocabulary="test",
        checkpoint=note,
    )


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(report), encoding="utf-8")
    return path


@contextmanager
def browsing(page: Path, profile: Path, *, scripts: bool = True) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not scripts:
        forbidden = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", forbidden)
    driver = Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)  # of the tab that the browser opened itself
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def shown(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing(page, tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def marked(driver: Chrome) -> list[list[tuple[int, int, str]]]:
    """Position, token and text of the marked words, by caption, in the order of time."""
    rows = driver.find_elements(By.CSS_SELECTOR, "tr[id^=caption-]")
    return [
        [
            (int(m.get_attribute("data-position")), int(m.get_attribute("data-token")), m.text)
            for m in row.find_elements(By.TAG_NAME, "mark")
        ]
        for row in rows
    ]


def test_it_asks_for_nothing_and_complains_of_nothing(shown: Chrome, page: Path) -> None:
    assert shown.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_the_marked_words_are_those_of_the_log(shown: Chrome, report: Report) -> None:
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


def test_it_prints_to_pdf(shown: Chrome) -> None:
    found: dict[str, Any] = shown.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    data = base64.b64decode(found["data"])
    assert data.startswith(b"%PDF-")
    assert len(data) > 10_000


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
def test_every_text_stands_out_from_its_ground(shown: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    ground = shown.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert shown.execute_script(CONTRAST) == []
    if folder := os.environ.get("SCREENSHOTS"):
        size = shown.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        shot = {"captureBeyondViewport": True, "clip": size | {"x": 0, "y": 0, "scale": 1}}
        data = shown.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
        (Path(folder) / f"report-{scheme}.png").write_bytes(base64.b64decode(data))


def test_it_is_read_without_scripts(page: Path, report: Report, tmp_path: Path) -> None:
    with browsing(page, tmp_path, scripts=False) as driver:
        assert not driver.find_elements(By.CSS_SELECTOR, "th button, input")
        assert [len(row) for row in marked(driver)] == [2, 3, 4]
        assert "What is protected" in driver.find_element(By.ID, "protection").text
        assert len(driver.find_elements(By.CSS_SELECTOR, "figure svg[role=img]")) == 2
