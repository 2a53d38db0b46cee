"""The page of predictions: its data are the table's, whatever the names; in a browser it sorts, filters and scrolls."""

import json
import re
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from discrepancy.figures.prediction_page import PageRow, prediction_page
from tests.figures.conftest import brightness, find, show

COUNT = 10_000


def row(number, name=None):
    file = name or f"lamp #{number % 7}/{number:05d}.png"
    if number % 1000 == 3:
        return PageRow({"file": file, "decision": "unreadable", "reason": "cut off"}, "", (), "")
    score = (number * 7919 % COUNT) / 1000
    anomalous = score > 9
    line = {"file": file, "score": score, "threshold": 9.0, "decision": "anomalous" if anomalous else "good"}
    line |= {
        "regions": int(anomalous),
        "largest_region": number % 500 if anomalous else 0,
        "seconds": 0.1,
        "reason": "",
    }
    return PageRow(line, "M5,5L20,5L20,20Z" if anomalous else "", (60, 40), f"{file}.jpg")


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "a&b<i>.png", "\udcff.png", "#?%20.png", "日本.png"]
)
def test_any_name_stays_data(name):
    text = prediction_page("<b>", [row(1, name)], pictures="overlays")
    (found,) = data_of(text)
    assert found["file"] == name.encode("utf-8", "backslashreplace").decode()
    assert re.fullmatch(r"[\w.%/~-]+", found["address"], re.ASCII) and text.count("<script") == 2
    text.encode("utf-8")


def test_counts_and_threshold_are_said():
    text = prediction_page("Lamp", [row(number) for number in range(1, 60)], pictures="overlays")
    decisions = [one["decision"] for one in data_of(text)]
    assert (
        f"59 photographs: {decisions.count('anomalous')} anomalous, {decisions.count('good')} good, 1 unreadable."
        in text
    )
    assert "Scores above 9 are anomalous" in text


def test_no_photographs_make_a_page_too():
    assert "0 photographs: none." in prediction_page("Lamp", [], pictures="overlays")


@pytest.fixture(scope="module")
def rows():
    return [row(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def page(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("predictions #1")
    for one in rows[:400]:
        if one.thumbnail:
            path = folder / f"thumbnails/{one.line['file']}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(path)
    (folder / "predictions.html").write_text(prediction_page("Lamp", rows, pictures="overlays"), encoding="utf-8")
    return (folder / "predictions.html").as_uri()


@pytest.fixture
def opened(browser, page):
    browser.get_log("browser")
    show(browser, page)
    return browser


def names(opened):
    return [one.text for one in find(opened, ".rows .name")]


def best(rows, *, count, key=None, decision=None):
    chosen = [one.line for one in rows if "score" in one.line and decision in (None, one.line["decision"])]
    return [line["file"] for line in sorted(chosen, key=key or (lambda line: -line["score"]))[:count]]


class TestInABrowser:
    pytestmark = pytest.mark.browser

    def test_ten_thousand_rows_open_quickly_the_highest_score_first(self, browser, page, rows):
        began = time.perf_counter()
        show(browser, page)
        assert names(browser)[:20] == best(rows, count=20)
        assert time.perf_counter() - began < 20  # seconds: it hangs, or it does not
        assert "10,000 shown" in browser.find_element(By.ID, "shown").text and len(names(browser)) < 2000

    def test_scrolling_brings_all(self, opened, rows):
        opened.find_element(By.CSS_SELECTOR, "[value=anomalous]").click()
        expected = best(rows, count=COUNT, decision="anomalous")
        for _ in range(60):
            if len(find(opened, ".rows li")) == len(expected):
                break
            opened.execute_script("scrollTo(0, document.body.scrollHeight)")
            time.sleep(0.05)
        assert names(opened) == expected

    def test_order_filter_and_search(self, opened, rows):
        order = Select(opened.find_element(By.ID, "order"))
        for value, key in (("score", lambda line: line["score"]), ("-largest", lambda line: -line["largest_region"])):
            order.select_by_value(value)
            expected = best(rows, count=5, key=key)
            WebDriverWait(opened, 10).until(lambda _, expected=expected: names(opened)[:5] == expected)
        opened.find_element(By.ID, "search").send_keys("#3/00")
        assert all(name.startswith("lamp #3/00") for name in names(opened))
        opened.find_element(By.ID, "search").clear()
        opened.find_element(By.ID, "search").send_keys("x")
        opened.find_element(By.ID, "search").send_keys("\b")
        opened.find_element(By.CSS_SELECTOR, "[value=unreadable]").click()
        assert "10 shown" in opened.find_element(By.ID, "shown").text
        assert {one.text for one in find(opened, ".rows .none")} == {"cut off"}

    def test_outlines_go_and_come(self, opened):
        lines = find(opened, ".rows path")[:3]
        assert all(line.is_displayed() for line in lines)
        opened.find_element(By.ID, "outlines").click()
        assert not any(line.is_displayed() for line in lines)

    def test_thumbnails_load_whatever_the_folder_is_called(self, opened):
        opened.find_element(By.ID, "search").send_keys("00011")
        WebDriverWait(opened, 10).until(lambda _: len(find(opened, ".rows li")) == 1)
        image = opened.find_element(By.CSS_SELECTOR, ".rows image").get_attribute("href")
        loaded = opened.execute_async_script(
            "const done = arguments[1]; const i = new Image(); i.onload = () => done(i.naturalWidth);"
            "i.onerror = () => done(0); i.src = arguments[0];",
            image,
        )
        assert loaded == 60

    @pytest.mark.parametrize("width", [390, 320])
    def test_a_phone_needs_no_sideways_scrolling_and_dark_is_dark(self, opened, page, width):
        show(opened, page, width=width, dark=True)
        across, inner = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert across <= inner == width and brightness(opened, "body") < 50
