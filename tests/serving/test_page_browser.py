"""The page in a real browser: a photograph is chosen or dropped, and its result is seen."""

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from tests.figures.conftest import browser, find, show  # noqa: F401
from tests.serving.test_server import serving

pytestmark = pytest.mark.browser

DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1], {type: "image/png"}));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
"""


def said(browser, words):  # noqa: F811
    WebDriverWait(browser, 15).until(lambda _: words in find(browser, "body")[0].text)


def shown(browser, name):  # noqa: F811
    """Whether a picture is on the page, and loaded."""
    script = "const i = document.getElementById(arguments[0]); return i.offsetWidth > 0 && i.complete && i.naturalWidth"
    WebDriverWait(browser, 5).until(lambda _: browser.execute_script(script, name))
    return True


def test_a_photograph_is_chosen_or_dropped_and_its_result_is_seen(browser, bundle_folder, photos):  # noqa: F811
    import base64

    with serving(bundle_folder) as server:
        browser.get_log("browser")
        show(browser, f"http://127.0.0.1:{server.port}/")
        said(browser, "PaDiM")
        find(browser, "#file")[0].send_keys(str(photos / "bad/scratched/11.png"))
        said(browser, "11.png: anomalous")
        assert all(shown(browser, name) for name in ("photograph", "map", "overlay"))
        assert find(browser, "#regions tbody tr")
        content = base64.b64encode((photos / "good/03.png").read_bytes()).decode()
        browser.execute_script(DROP, content, "03.png")
        said(browser, "03.png: good")
        assert shown(browser, "photograph") and not find(browser, "#regions")[0].is_displayed()
        assert browser.get_log("browser") == []
        content = base64.b64encode(b"hello").decode()
        browser.execute_script(DROP, content, "notes.png")
        said(browser, "notes.png: notes.png cannot be decoded")
        assert not find(browser, "#pictures")[0].is_displayed()
        show(browser, f"http://127.0.0.1:{server.port}/", width=400, dark=True)
        said(browser, "PaDiM")
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_documentation_is_shown_without_a_network(browser, bundle_folder):  # noqa: F811
    with serving(bundle_folder) as server:
        show(browser, f"http://127.0.0.1:{server.port}/docs")
        said(browser, "/predict")
        said(browser, "Examine a photograph")
