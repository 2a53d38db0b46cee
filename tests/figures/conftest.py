"""A real browser for the pages."""

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
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


@pytest.fixture(scope="session")
def browser():
    if not (BROWSER and DRIVER):
        pytest.skip("no Chromium, or no chromedriver: `make browser` installs them on Debian")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, page, *, width=1200, dark=False, script=True, media=""):
    """Open the page afresh; media is what it is shown on: nothing for a screen, or `print`."""
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [theme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get("about:blank")
    browser.get(page)


@pytest.fixture
def opened(browser, page):
    """A browser that shows the module's page afresh, 1200 x 900, light; whatever it complains of fails the test."""
    browser.get_log("browser")
    show(browser, page)
    yield browser
    assert browser.get_log("browser") == []


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def brightness(browser, selector):
    (found,) = find(browser, selector)[:1]
    colour = found.value_of_css_property("background-color")
    return sum(float(part) for part in colour.strip("rgba()").split(",")[:3]) / 3
