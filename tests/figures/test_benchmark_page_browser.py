"""The benchmark's page in a real browser: opened from disk, sorted, clicked, on a phone, dark, without script."""

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from discrepancy.benchmark.comparison import compare, rank_methods
from discrepancy.benchmark.published import published_numbers
from discrepancy.benchmark.tables import summarise
from discrepancy.figures.benchmark_page import benchmark_page
from tests.figures.conftest import brightness, find, show
from tests.made_up_results import MVTEC, made_up_results

pytestmark = pytest.mark.browser
RESULTS = made_up_results("mvtec_ad", MVTEC, failed=[("zipper", "fod", 0), ("zipper", "fod", 1)])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of 15 categories, and one picture per method."""
    folder = tmp_path_factory.mktemp("a benchmark #1")
    for method, colour in (("dfc", 40), ("dfr", 120), ("fod", 200)):
        Image.fromarray(np.full((865, 1100, 3), colour, np.uint8)).save(folder / f"{method} #1 gallery.png")
    galleries = {(m, "mvtec_ad", c): f"{m} #1 gallery.png" for m in ("dfc", "dfr", "fod") for c in MVTEC}
    published = published_numbers()
    tables = [RESULTS, summarise(RESULTS, published), compare(RESULTS)]
    text = benchmark_page(*tables, galleries, ranks=rank_methods(RESULTS), published=published)
    (folder / "index.html").write_text(text, encoding="utf-8")
    return (folder / "index.html").as_uri()


def head(browser, words):
    return next(h for h in find(browser, ".results thead th") if h.text.split("\n")[0].strip() == words)


def column(browser, words, body="singles"):
    """The numbers of a column from top to bottom, None where there is none."""
    index = browser.execute_script("return arguments[0].cellIndex", head(browser, words))
    cells = find(browser, f".results .{body} tr > :nth-child({index + 1})")
    values = [cell.get_attribute("data-value") for cell in cells]
    return [None if value is None else float(value) for value in values]


def numbers_of(name):
    """Means over seeds by plain loops."""
    found = []
    for category in MVTEC:
        for method in ("dfc", "dfr", "fod"):
            rows = RESULTS[(RESULTS["category"] == category) & (RESULTS["method"] == method)]
            values = [row[name] for row in rows.to_dict("records") if row["state"] == "done"]
            found += [sum(values) / len(values)] if values else []
    return found


def test_a_click_sorts_by_number_and_missing_ones_stay_last(opened):
    expected = sorted(numbers_of("train_seconds"), reverse=True)  # of 2, 3 and 4 digits: as text they sort otherwise
    assert expected != sorted(expected, key=str, reverse=True)
    before = column(opened, "training, s")
    button = head(opened, "training, s").find_element(By.TAG_NAME, "button")
    button.click()
    assert column(opened, "training, s") == pytest.approx([*expected, None]) != before
    assert head(opened, "training, s").get_attribute("aria-sort") == "descending"
    button.click()
    assert column(opened, "training, s") == pytest.approx([*expected[::-1], None])
    assert head(opened, "training, s").get_attribute("aria-sort") == "ascending"
    means = column(opened, "training, s", "means")
    assert len(means) == 9 and means == sorted(means)  # below, in a part of their own


def test_the_keyboard_sorts_words_and_one_column_at_a_time(opened):
    head(opened, "image AUROC").find_element(By.TAG_NAME, "button").click()
    head(opened, "category").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    names = [cell.text for cell in find(opened, ".results .singles .category")]
    assert names == [name for name in MVTEC for _ in range(3)]
    assert [h.get_attribute("aria-sort") for h in find(opened, ".results thead th[aria-sort]")] == ["ascending"]
    assert head(opened, "category").get_attribute("aria-sort") == "ascending"
    # Rows that are equal keep their order: by image AUROC, highest first.
    values = column(opened, "image AUROC")[:3]
    assert values == sorted(values, reverse=True)


def visible_parts(browser):
    return [part.get_attribute("id") for part in find(browser, "details.part") if part.get_property("open")]


@pytest.mark.parametrize("selector", [".metric:not([hidden]) .heat thead a", ".results .category a"])
def test_a_click_on_a_category_opens_its_galleries_side_by_side(opened, selector):
    assert visible_parts(opened) == ["category-0"]
    next(link for link in find(opened, selector) if link.text == "screw").click()
    part = opened.find_element(By.ID, visible_parts(opened)[-1])
    assert len(visible_parts(opened)) == 2 and part.find_element(By.TAG_NAME, "h3").text == "screw"
    pictures = part.find_elements(By.TAG_NAME, "img")
    wait_for(opened, "return [...arguments[0]].every((i) => i.complete && i.naturalWidth === 1100)", pictures)
    assert len(pictures) == 3 and all(picture.is_displayed() for picture in pictures)
    assert len({picture.rect["y"] for picture in pictures}) == 1 and len({p.rect["x"] for p in pictures}) == 3
    assert 0 <= opened.execute_script("return arguments[0].getBoundingClientRect().top", part) < 200


def test_a_category_that_was_closed_opens_again(opened):
    link = next(link for link in find(opened, ".heat thead a") if link.text == "screw")
    for _ in range(2):  # the second time the address does not change
        link.click()
        part = opened.find_element(By.ID, visible_parts(opened)[-1])
        assert part.find_element(By.TAG_NAME, "h3").text == "screw"
        part.find_element(By.TAG_NAME, "summary").click()
        assert visible_parts(opened) == ["category-0"]


def wait_for(browser, condition, *arguments, seconds=10):
    """Wait until the page's own answer to the condition is true."""
    WebDriverWait(browser, seconds).until(lambda b: b.execute_script(condition, *arguments))


def test_a_click_on_a_cell_of_the_heat_map_opens_the_category_too(opened):
    find(opened, ".metric:not([hidden]) .heat tbody td[data-link]")[3].click()
    wait_for(opened, "return document.getElementById('category-3').open")
    opened.execute_script("document.getElementById('category-3').open = false; scrollTo(0, 0)")
    find(opened, ".metric:not([hidden]) .heat tbody td[data-link='#category-3']")[1].click()  # the address stays
    wait_for(opened, "return document.getElementById('category-3').open && scrollY > 0")


def test_an_address_with_a_category_opens_it(opened, page):
    opened.get("about:blank")
    opened.get(f"{page}#category-7")
    assert visible_parts(opened) == ["category-0", "category-7"]


def test_the_heat_map_shows_the_chosen_metric(opened):
    shown = [block for block in find(opened, ".metric") if block.is_displayed()]
    assert [block.get_attribute("data-metric") for block in shown] == ["image_auroc"]
    Select(opened.find_element(By.ID, "metric")).select_by_visible_text("best IoU")
    shown = [block for block in find(opened, ".metric") if block.is_displayed()]
    assert [block.get_attribute("data-metric") for block in shown] == ["best_iou"]
    colours = {cell.value_of_css_property("background-color") for cell in shown[0].find_elements(By.TAG_NAME, "td")}
    assert len(colours) > 5


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scrolling(opened, page, width):
    show(opened, page, width=width)
    opened.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    across, inner = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert across <= inner == width
    pictures = find(opened, "#category-2 img")
    assert len({picture.rect["x"] for picture in pictures}) == 1  # one below the other
    box = opened.find_element(By.CSS_SELECTOR, ".numbers")
    assert box.get_property("scrollWidth") > box.get_property("clientWidth") > 0.8 * width  # it scrolls in its box
    first, second = find(opened, ".metric:not([hidden]) .heat thead th")[1:3]
    assert second.rect["y"] > first.rect["y"] and second.rect["x"] == first.rect["x"]  # categories run down
    cells = [row.find_element(By.TAG_NAME, "td") for row in find(opened, ".metric:not([hidden]) .heat tbody tr")]
    assert [cell.rect["y"] for cell in cells] == [first.rect["y"]] * 3 and len({cell.rect["x"] for cell in cells}) == 3


def test_the_dark_theme_is_dark_and_its_heat_map_runs_the_other_way(opened, page):
    cells = (".metric:not([hidden]) .level-15", ".metric:not([hidden]) .level-0")
    light = [brightness(opened, selector) for selector in ("body", *cells)]
    show(opened, page, dark=True)
    dark = [brightness(opened, selector) for selector in ("body", *cells)]
    assert light[0] > 230 and dark[0] < 50
    assert light[1] < light[2] and dark[1] > dark[2]


def test_without_script_the_table_is_readable_and_every_gallery_is_visible(opened, page):
    show(opened, page, script=False)
    try:
        assert len(find(opened, ".results .singles tr")) == 45 and not find(opened, ".results button")
        assert len(visible_parts(opened)) == 15
        assert all(block.is_displayed() for block in find(opened, ".metric"))
        assert not opened.find_element(By.ID, "metric").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
