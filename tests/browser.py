"""Chromium for tests of pages: opened from disk, on a phone, dark, without script."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
in_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="no Chromium, or no chromedriver: `make browser` installs them on Debian"
    ),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root Chromium does not start without it; the page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-prefers-reduced-motion",  # no smooth scrolling to wait for
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, page, *, width=1200, dark=False, script=True):
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get("about:blank")
    browser.get(page)


def find(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def brightness(browser, selector):
    colour = browser.find_element(By.CSS_SELECTOR, selector).value_of_css_property("background-color")
    return sum(float(part) for part in colour.strip("rgba()").split(",")[:3]) / 3
