"""Every photograph is on the sheet, in its place, with its name; what is marked is outlined."""

import numpy as np
import pytest

from discrepancy.figures import style
from discrepancy.figures.contact_sheet import ACROSS, contact_sheet

RNG = np.random.default_rng(0)


def tile(name="cap/test/0.png", words="", size=(30, 40), mask=None):
    return (name, words, RNG.integers(0, 256, (*size, 3), dtype=np.uint8), mask)


def words(figure):
    return [text.get_text() for text in figure.texts]


def test_all_are_shown_with_their_names():
    sections = {"train good": [tile(f"cap/train/{i}.png") for i in range(ACROSS + 2)], "empty": [], "test": [tile()]}
    figure = contact_sheet(sections, title="folder/cap", subtitle="9 images")
    assert len(figure.axes) == ACROSS + 3
    assert words(figure) == ["folder/cap", "9 images", "train good"] + [f"{i}.png" for i in range(8)] + [
        "test",
        "0.png",
    ]
    figure.canvas.draw()


def test_pictures_keep_their_shape_and_none_covers_another():
    sections = {"tall": [tile(size=(120, 30)), tile(size=(20, 90))], "flat": [tile(size=(20, 90))] * (ACROSS + 1)}
    figure = contact_sheet(sections, title="t")
    width, height = figure.get_size_inches() * style.DPI
    boxes = []
    for axes in figure.axes:
        picture = axes.images[0].get_array()
        x0, y0, w, h = axes.get_position().bounds * np.array([width, height, width, height])
        assert (w / h) == pytest.approx(picture.shape[1] / picture.shape[0]) and max(w, h) <= width / ACROSS
        assert x0 >= 0 and y0 >= 0 and x0 + w <= width and y0 + h <= height
        boxes.append((x0, y0, x0 + w, y0 + h))
    for i, one in enumerate(boxes):
        for two in boxes[i + 1 :]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def test_no_words_lie_on_a_picture():
    figure = contact_sheet({"one": [tile(words="blank")] * (ACROSS + 1), "two": [tile(size=(90, 20))]}, title="t")
    figure.canvas.draw()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    for text in figure.texts:
        extent = text.get_window_extent()
        assert not any(box.overlaps(extent) for box in boxes), text.get_text()


def test_what_is_marked_is_outlined():
    mask = np.zeros((30, 40), bool)
    mask[10:20, 10:20] = True
    marked, empty = tile(mask=mask), tile(mask=np.zeros((30, 40), bool))
    figure = contact_sheet({"a": [marked, empty]}, title="t")
    shown, plain = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    changed = (shown != marked[2]).any(-1)
    assert changed[10, 10] and changed[19, 15] and not changed[12:18, 12:18].any() and not changed[:8].any()
    np.testing.assert_array_equal(plain, empty[2])


def test_words_are_written_below_and_long_names_are_shortened():
    figure = contact_sheet({"a": [tile("a/" + "n" * 80 + ".png", "saturated")]}, title="t" * 400)
    said = words(figure)
    assert "saturated" in said and "…" in said[0] and any("…" in line and line.endswith(".png") for line in said)


def test_nothing_to_show():
    figure = contact_sheet({}, title="t")
    assert not figure.axes
    figure.canvas.draw()
