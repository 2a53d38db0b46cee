"""The report of a run in a real browser: light, dark, on a phone, printed."""

import base64

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from tests.figures.conftest import show
from tests.made_up_report import made_up_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a report #1")
    (folder / "report.html").write_text(made_up_report(loss_figure=np.full((480, 700, 3), 255, np.uint8)), "utf-8")
    return (folder / "report.html").as_uri()


def across(browser):
    return browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")


def brightness(browser):
    colour = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    return sum(float(part) for part in colour.strip("rgba()").split(",")[:3]) / 3


@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_sticks_out_sideways(opened, page, width):
    show(opened, page, width=width)
    opened.execute_script("document.querySelector('details').open = true")
    wide, inner = across(opened)
    assert wide <= inner == width
    views = [figure.rect for figure in opened.find_elements(By.CSS_SELECTOR, ".decisions li:first-child figure")]
    assert len({view["y"] for view in views}) == (1 if width == 1200 else 2)
    assert views[0]["width"] > 0.8 * width or width == 1200


def test_every_picture_is_shown(opened):
    loaded = opened.execute_script("return [...document.images].map((i) => i.complete && i.naturalWidth > 0)")
    assert len(loaded) == 65 and all(loaded)


def test_the_dark_theme_is_dark_and_prints_light(opened, page):
    assert brightness(opened) > 230
    show(opened, page, dark=True)
    assert brightness(opened) < 50
    show(opened, page, dark=True, media="print")
    assert brightness(opened) > 250
    assert not opened.find_element(By.TAG_NAME, "nav").is_displayed()


def test_no_decision_is_torn_apart_by_the_end_of_a_page(opened, page):
    show(opened, page, width=794, media="print")
    for selector in (".decisions li", ".figures figure", "tr"):
        assert opened.find_element(By.CSS_SELECTOR, selector).value_of_css_property("break-inside") == "avoid"
    printed = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert printed.startswith(b"%PDF") and 5 <= printed.count(b"/Type /Page\n") <= 20


def test_all_parameters_are_closed_until_they_are_asked_for(opened):
    details = opened.find_element(By.TAG_NAME, "details")
    assert not details.find_element(By.TAG_NAME, "table").is_displayed()
    details.find_element(By.TAG_NAME, "summary").click()
    assert details.find_element(By.TAG_NAME, "table").is_displayed()
