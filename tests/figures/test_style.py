"""Type, names and numbers that all figures share."""

from __future__ import annotations

import io
import math
import warnings

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib._pylab_helpers import Gcf

from discrepancy.figures import style


def test_new_figure_belongs_to_nobody():
    before = dict(matplotlib.rcParams)
    figure = style.new_figure(3.0, 2.0)
    assert tuple(figure.get_size_inches() * figure.dpi) == (3.0 * style.DPI, 2.0 * style.DPI)
    assert dict(matplotlib.rcParams) == before
    assert not Gcf.figs


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.000"),
        (0.12345, "0.123"),
        (0.9996, "1.00"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (-12.345, "-12.3"),
        (99.96, "100"),
        (123456.4, "123456"),
        (1e7, "1.00e+07"),
        (0.00012, "1.20e-04"),
        (math.nan, "-"),
        (math.inf, "inf"),
    ],
)
def test_number_has_three_digits(value, words):
    assert style.number(value) == words


@given(st.floats(min_value=1e-3, max_value=9e5))
def test_number_is_within_half_a_digit(value):
    digits = 3 if value >= 1 else None
    printed = float(style.number(value))
    tolerance = 0.5 * 10 ** (math.floor(math.log10(value)) - 2) if digits else 0.0005
    assert abs(printed - value) <= max(tolerance, 0.5 if value >= 1000 else 0) * (1 + 1e-9)


def test_share_has_three_decimals():
    assert [style.share(v) for v in (1.0, 0.98765, math.nan)] == ["1.000", "0.988", "-"]


@given(st.text(max_size=40), st.integers(1, 30))
def test_shorten_keeps_both_ends(words, width):
    short = style.shorten(words, width)
    assert len(short) == min(len(words), width)
    if len(words) > width:
        head, tail = short.split("…") if short.count("…") == 1 else (short[: (width - 1) // 2], "")
        assert words.startswith(head) and words.endswith(tail)


@pytest.mark.parametrize("words", ["plain", "a$b_{$", r"\frac", "Ölfleck", "дефект", "傷 \t\x00", "🔩"])
def test_any_name_can_be_written_without_warning(words):
    figure = style.new_figure(2, 2)
    axes = figure.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.dress(axes, title=words, x=words, y=words)
        style.say(axes, words)
        figure.savefig(io.BytesIO())
    assert [t.get_text() for t in axes.texts] == [style.printable(words)]


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("words", ["Anomaly map", "WWWWiiii", "score 3.21 · good, false alarm", "傷"])
def test_width_is_that_of_the_drawn_words(words, bold):
    figure = style.new_figure(5, 1)
    drawn = figure.text(0, 0, style.printable(words), **style.text(12, bold=bold)).get_window_extent()
    assert style.width(words, 12, bold=bold) == pytest.approx(drawn.width, abs=3)


def test_fit_cuts_no_more_than_needed():
    words = "WiWiWiWiWiWiWi"
    for pixels in range(20, 160, 7):
        short = style.fit(words, pixels)
        assert style.width(short) <= pixels
        if short != words:
            assert style.width(style.shorten(words, len(short) + 1)) > pixels
    assert style.fit(words, 1) == "…"


def test_printable_replaces_only_what_the_font_lacks():
    assert style.printable("Öl · дефект – x\ue123") == "Öl · дефект – x\\ue123"
    assert style.printable("two\nlines\u202ereversed") == "two\nlines\\u202ereversed"
