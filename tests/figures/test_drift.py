"""Scores of good parts then and now, read back from the figure."""

from __future__ import annotations

import io

import numpy as np
import pytest

from discrepancy.figures.drift import comparison_figure

pytestmark = pytest.mark.filterwarnings("error")

BEFORE = np.array([0.5, 0.6, 0.7, 1.2])
NOW = np.array([0.9, 1.1, 1.3, 1.0, 2.0])


def lines(axes):
    return {line.get_gid(): line for line in axes.lines}


def test_each_photograph_is_a_dot_in_its_row():
    figure = comparison_figure(BEFORE, NOW, 1.0, 1.5)
    upper, lower = figure.axes
    for row, (gid, scores) in enumerate((("before", BEFORE), ("now", NOW))):
        x, y = lines(lower)[gid].get_data()
        assert list(x) == list(scores) and (np.abs(y - row) < 0.5).all()
    # Equal to the threshold is not above it.
    assert [tick.get_text() for tick in lower.get_yticklabels()] == [
        "calibration before: 4\n1 above the old threshold\n0 above the new threshold",
        "new photographs: 5\n3 above the old threshold\n1 above the new threshold",
    ]
    assert upper.get_title(loc="left") == "The old threshold calls 3 of 5 new photographs of good parts anomalous"
    assert comparison_figure(BEFORE, NOW, 1.0, 1.5, "Cables").axes[0].get_title(loc="left") == "Cables"
    figure.savefig(io.BytesIO())


def test_both_thresholds_are_lines_in_both_axes():
    figure = comparison_figure(BEFORE, NOW, 1.0, 1.5)
    for axes in figure.axes:
        found = {gid: list(line.get_xdata()) for gid, line in lines(axes).items() if "threshold" in str(gid)}
        assert found == {"threshold-before": [1.0, 1.0], "threshold-now": [1.5, 1.5]}
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert set(texts) == {"calibration before (4)", "new photographs (5)", "old threshold 1.00", "new threshold 1.50"}


def test_bars_are_shares_of_each_group():
    upper, _ = comparison_figure(BEFORE, NOW, 1.0, 1.5).axes
    bars = [container for container in upper.containers if len(container) > 1]
    assert [sum(bar.get_height() for bar in group) for group in bars] == pytest.approx([1.0, 1.0])
    assert [bar.get_x() for bar in bars[0]] == [bar.get_x() for bar in bars[1]]
    assert upper.get_ylim()[1] > 1.4 * max(bar.get_height() for group in bars for bar in group)


@pytest.mark.parametrize(("factor", "scale"), [(1.0, "linear"), (1000.0, "log"), (-1000.0, "linear")])
def test_a_wide_range_of_positive_scores_is_logarithmic(factor, scale):
    figure = comparison_figure(BEFORE, factor * NOW, 1.0, 1.5)
    assert figure.axes[1].get_xscale() == scale
    assert ("logarithmic" in figure.axes[1].get_xlabel()) == (scale == "log")
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_thresholds_beyond_all_scores_are_seen(factor):
    figure = comparison_figure(BEFORE, factor * NOW, 0.1, 9000.0)
    low, high = figure.axes[1].get_xlim()
    assert low < 0.1 and high > 9000
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("none", [np.inf, -np.inf, np.nan])
def test_a_threshold_that_is_not_finite_is_not_drawn(none):
    figure = comparison_figure(BEFORE, NOW, 1.0, none)
    assert "threshold-now" not in lines(figure.axes[0]) and "threshold-before" in lines(figure.axes[0])
    assert "new threshold" not in figure.axes[1].get_yticklabels()[0].get_text()
    neither = comparison_figure(BEFORE, NOW, none, none)
    assert neither.axes[0].get_title(loc="left") == "Scores of good parts at the calibration before and now"
    for drawn in (figure, neither):
        drawn.savefig(io.BytesIO())


def test_a_threshold_without_a_place_on_a_logarithmic_axis_does_no_harm():
    figure = comparison_figure(BEFORE, 1000 * NOW, 0.0, -1.0)
    assert figure.axes[1].get_xscale() == "log" and figure.axes[1].get_xlim()[0] > 0
    figure.savefig(io.BytesIO())


def test_equal_scores():
    figure = comparison_figure([1.0, 1.0], [1.0], 1.0, 1.0)
    low, high = figure.axes[1].get_xlim()
    assert low < 1 < high
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("before", "now", "name"), [([], [1.0], "before"), ([1.0], [np.nan], "now"), ([[1.0]], [1.0], "before")]
)
def test_refuses(before, now, name):
    with pytest.raises(ValueError, match=f"finite scores .* as {name}"):
        comparison_figure(before, now, 1.0, 1.0)
