"""The page holds what it was given, and nothing that it was given can become markup."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup
from PIL import Image

from discrepancy.figures.html import html_page, html_picture, html_table, render


class Reader(HTMLParser):
    """Tags, and the text of every cell."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in {"td", "th"}:
            self.cells[-1] += data


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]) | st.sampled_from("<>&\"'"), min_size=1, max_size=12)


@given(st.lists(TEXT, min_size=1, max_size=5))
@example(["<b>x</b>", "&amp;", 'a"b'])
def test_cells_come_back_as_they_were(names):
    reader = Reader(html_table(pd.DataFrame({"file": names, "images": range(len(names))})))
    assert [cell.strip() for cell in reader.cells] == ["file", "images"] + [
        text for i, name in enumerate(names) for text in (name, str(i))
    ]
    assert {tag for tag, _ in reader.tags} == {"div", "table", "thead", "tbody", "tr", "th", "td"}


def test_numbers_stand_on_the_right_and_severities_have_their_colour():
    table = html_table(pd.DataFrame({"severity": ["error", "note"], "share": [0.25, 0.5]}))
    assert '<td class="error">error</td><td class="number">0.250</td>' in table and '<td class="note">' in table


def test_long_tables_are_cut_and_empty_ones_say_so():
    frame = pd.DataFrame({"a": range(30)})
    assert html_table(frame, most=10).count("<tr>") == 11 and "and 20 more" in html_table(frame, most=10)
    assert "more</p>" not in html_table(frame, most=30)
    assert html_table(frame.head(0), empty="none <found>").strip() == '<p class="quiet">none &lt;found&gt;</p>'


def test_pictures_are_inside_the_page():
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    [(tag, attributes)] = Reader(html_picture(picture, 'a "sheet"')).tags
    assert tag == "img" and attributes["alt"] == 'a "sheet"'
    data = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_the_page():
    page = html_page("a <b>", [("One & two", Markup("<p>content</p>"))], intro="5 > 3")
    assert "<title>a &lt;b&gt;</title>" in page and "<h2>One &amp; two</h2>\n<p>content</p>" in page
    assert "<p>5 &gt; 3</p>" in page and "viewport" in page and "prefers-color-scheme: dark" in page
    assert "http" not in page  # nothing is fetched


def test_text_is_no_markup_wherever_it_is_put():
    assert "&lt;i&gt;content" in html_page("t", [("h", "<i>content")])


@given(st.text(st.sampled_from("<>&\"'[]{}%#\n x"), max_size=12))
def test_words_in_attributes_come_back_as_they_were(words):
    [(_, attributes)] = Reader(html_picture(np.zeros((1, 1, 3), np.uint8), words)).tags
    assert attributes["alt"] == words and set(attributes) == {"alt", "src", "width", "height"}


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="data"):
        render("picture.html", words="a sheet", kind="image/png", width=1, height=1)
