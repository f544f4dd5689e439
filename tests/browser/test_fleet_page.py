"""The fleet's page in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from ugsd_privacy.reports.html import fleet_html

from tests.browser.browsing import browsing, resize
from tests.privacy.reports.report_specimen import FLEET

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    path = tmp_path_factory.mktemp("fleet") / "fleet.html"
    path.write_text(fleet_html(FLEET), "utf-8")
    with browsing(path, tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def devices(driver: Chrome, section: str) -> list[str]:
    rows = driver.find_elements(By.CSS_SELECTOR, f"[aria-labelledby={section}] tbody tr")
    return [row.find_element(By.TAG_NAME, "th").text for row in rows if row.is_displayed()]


def test_fleet_page_loads_nothing_and_lists_faults_first(fleet: Chrome) -> None:
    assert fleet.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in fleet.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = [params["request"]["url"] for params in sent]
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    verdict = fleet.find_element(By.CSS_SELECTOR, ".verdict.failed").text
    assert "kitchen at record 2: leaf 2 differs" in verdict
    assert "office" in verdict
    assert devices(fleet, "logs")[:2] == ["kitchen", "office"]


def test_logs_are_filtered_and_sorted_by_keyboard(fleet: Chrome) -> None:
    box = fleet.find_element(By.CSS_SELECTOR, "[aria-labelledby=logs] input")
    box.send_keys("NOT VERIFY")
    assert devices(fleet, "logs") == ["kitchen"]
    assert len(devices(fleet, "reports")) == 3, "the other table is not filtered"
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    heads = fleet.find_elements(By.CSS_SELECTOR, "[aria-labelledby=logs] thead button")
    (records,) = [head for head in heads if "Records" in head.text]
    records.send_keys(Keys.ENTER)
    records.send_keys(Keys.ENTER)
    assert devices(fleet, "logs")[0] == "hall", "numbers sort by value: 1,209 is more than 0"


def test_checkpoints_unfold_by_keyboard(fleet: Chrome) -> None:
    (first, *_) = fleet.find_elements(By.TAG_NAME, "summary")
    note = fleet.find_element(By.CSS_SELECTOR, "details pre")
    assert not note.is_displayed()
    first.send_keys(Keys.ENTER)
    assert note.is_displayed()
    assert note.text == "note of office", "a failed checkpoint is not to be stored"


def test_fleet_page_never_scrolls_sideways(fleet: Chrome) -> None:
    for width in (1300, 360):
        resize(fleet, width)
        wide = fleet.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    fleet.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
