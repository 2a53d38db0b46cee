"""The ROC curve in its band, read back from the figure."""

from __future__ import annotations

import io

import numpy as np
import pytest

from discrepancy.figures.curves import Roc
from discrepancy.figures.roc_band import Band, roc_band_figure

pytestmark = pytest.mark.filterwarnings("error")

ROC = Roc([0.0, 0.0, 0.5, 1.0], [0.0, 0.75, 0.75, 1.0], 0.8754)
BAND = Band(np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.6, 1.0]), np.array([0.8, 0.9, 1.0]))


def made_rates(alarms=0.02, low=0.01, high=0.08):
    return {
        "false_alarm_rate": alarms, "false_alarm_rate_low": low, "false_alarm_rate_high": high,
        "detection_rate": 0.75, "detection_rate_low": 0.6, "detection_rate_high": 0.85,
    }  # fmt: skip


def by_gid(axes):
    return {child.get_gid(): child for child in axes.get_children()}


def legend(axes):
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_both_axes_show_curve_band_and_threshold():
    figure = roc_band_figure(ROC, BAND, made_rates())
    whole, rare = figure.axes
    for axes in figure.axes:
        parts = by_gid(axes)
        assert set(parts) >= {"roc", "band", "threshold"}
        np.testing.assert_array_equal(parts["roc"].get_xydata(), np.column_stack(ROC[:2]))
        corners = set(map(tuple, parts["band"].get_paths()[0].vertices))
        # Between two rates the band stays as it is at the lower one.
        assert corners >= {(0, 0.5), (0.5, 0.5), (0.5, 0.6), (1, 0.6), (0, 0.8), (0.5, 0.8), (0.5, 0.9), (1, 0.9)}
    assert whole.get_xlim()[1] == 1.0 and rare.get_xlim()[1] == 0.1
    assert whole.get_title(loc="left") == "The threshold: 75 % found, 2 % false alarms"
    assert legend(whole) == {
        "95 % range, other test images", "curve of all thresholds: AUROC 0.875", "guessing",
        "this threshold, with its 95 % range",
    }  # fmt: skip
    figure.savefig(io.BytesIO())


def test_the_threshold_has_the_range_of_both_rates():
    axes = roc_band_figure(ROC, BAND, made_rates()).axes[0]
    ((point, _, (across, up)),) = axes.containers
    assert point is by_gid(axes)["threshold"]
    assert point.get_xydata().tolist() == [[0.02, 0.75]]
    np.testing.assert_allclose(across.get_segments(), [[[0.01, 0.75], [0.08, 0.75]]])
    np.testing.assert_allclose(up.get_segments(), [[[0.02, 0.6], [0.02, 0.85]]])


@pytest.mark.parametrize(
    ("alarms", "high", "end"), [(0.02, 0.08, 0.1), (0.02, 0.2, 0.22), (0.2, 0.3, 0.4), (0.9, 0.99, 1.0)]
)
def test_the_right_half_reaches_beyond_the_threshold(alarms, high, end):
    figure = roc_band_figure(ROC, BAND, made_rates(alarms, 0.0, high))
    assert figure.axes[1].get_xlim()[1] == pytest.approx(end)
    figure.savefig(io.BytesIO())


def test_without_a_threshold_there_is_the_curve_alone():
    figure = roc_band_figure(ROC, BAND, confidence=0.9)
    whole = figure.axes[0]
    assert "threshold" not in by_gid(whole)
    assert legend(whole) == {"90 % range, other test images", "curve of all thresholds: AUROC 0.875", "guessing"}
    assert whole.get_title(loc="left") == "How much is found, at how many false alarms?"
    assert roc_band_figure(ROC, BAND, title="Cables").axes[0].get_title(loc="left") == "Cables"
    figure.savefig(io.BytesIO())
