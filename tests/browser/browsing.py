"""A headless browser with a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,1600",
)  # fmt: skip


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


def emulate(driver: Chrome, media: str = "", **features: str) -> None:
    """Emulate a medium and user preferences; without arguments, reset both."""
    given = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    asked = {"media": media, "features": given}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", asked)


def resize(driver: Chrome, width: int, height: int = 1600) -> None:
    """Set the page's width and height, in CSS pixels."""
    asked = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", asked)
