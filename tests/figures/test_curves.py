"""Curves and dots, read back from the figures."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from discrepancy.figures.curves import Roc, loss_figure, pro_figure, roc_figure
from discrepancy.figures.scores import score_histogram

pytestmark = pytest.mark.filterwarnings("error")


def drawn(axes):
    """The lines of axes by their label."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def save(figure):
    for axes in figure.axes:
        assert axes.get_xlabel() or axes.get_subplotspec().is_first_row()
        assert axes.get_title(loc="left") or not axes.get_subplotspec().is_first_row()
    figure.savefig(io.BytesIO())


class TestRoc:
    image = Roc([0.0, 0.0, 0.5, 1.0], [0.0, 0.75, 0.75, 1.0], 0.8754)
    pixel = Roc(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.9, 1.0]), 0.9)

    def test_both_curves_are_drawn_as_given(self):
        figure = roc_figure(self.image, self.pixel)
        assert len(figure.axes) == 2
        for axes in figure.axes:
            lines = drawn(axes)
            np.testing.assert_array_equal(lines["images: AUROC 0.875"], np.column_stack(self.image[:2]))
            np.testing.assert_array_equal(lines["pixels: AUROC 0.900"], np.column_stack(self.pixel[:2]))
            assert legend(axes)[:2] == ["images: AUROC 0.875", "pixels: AUROC 0.900"]
        assert figure.axes[0].get_xlim()[1] == 1.0 and figure.axes[1].get_xlim()[1] == 0.1
        save(figure)

    def test_a_curve_may_be_missing(self):
        assert set(drawn(roc_figure(self.image).axes[0])) == {"images: AUROC 0.875", "guessing"}
        nothing = roc_figure(None)
        assert all("good and defective" in axes.texts[0].get_text() for axes in nothing.axes)
        save(nothing)

    def test_long_curves_are_thinned_evenly_between_the_same_ends(self):
        fpr = np.linspace(0, 1, 50_000) ** 3
        tpr = np.sqrt(fpr)
        line = drawn(roc_figure(None, Roc(fpr, tpr, 0.5)).axes[0])["pixels: AUROC 0.500"]
        assert 3_000 < len(line) <= 4_000
        assert line[0].tolist() == [0, 0] and line[-1].tolist() == [1, 1]
        assert set(line[:, 0]) <= set(fpr)
        np.testing.assert_array_equal(line[:, 1], np.sqrt(line[:, 0]))
        steps = np.abs(np.diff(line, axis=0)).sum(axis=1)
        assert steps.max() < 3 * 2 / 4_000 + np.abs(np.diff(tpr)).max()

    def test_a_long_curve_that_stands_still_keeps_its_ends(self):
        line = drawn(roc_figure(Roc(np.zeros(9_000), np.zeros(9_000), 0.0)).axes[0])["images: AUROC 0.000"]
        np.testing.assert_array_equal(line, np.zeros((len(line), 2)))
        assert len(line) >= 1


class TestPro:
    fpr, pro = np.array([0.0, 0.1, 0.2, 0.4, 1.0]), np.array([0.0, 0.5, 0.8, 0.9, 1.0])

    def test_the_shaded_area_is_what_counts(self):
        figure = pro_figure(self.fpr, self.pro, 0.6123, fpr_limit=0.3)
        (axes,) = figure.axes
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.column_stack([self.fpr, self.pro]))
        x, y = axes.collections[0].get_paths()[0].vertices.T
        area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        expected = 0.5 * 0.1 * 0.5 + 0.1 * 0.65 + 0.1 * 0.825  # trapezia; 0.85 at the limit
        assert area == pytest.approx(expected)
        assert legend(axes) == ["AUPRO@0.30: 0.612", "limit 0.30"]
        assert axes.lines[1].get_xdata()[0] == 0.3
        save(figure)

    def test_a_curve_that_ends_at_the_limit(self):
        (axes,) = pro_figure(self.fpr[:3], self.pro[:3], 0.5, fpr_limit=0.2).axes
        assert axes.collections[0].get_paths()[0].vertices[:, 0].max() == 0.2

    def test_no_defects(self):
        figure = pro_figure([], [], float("nan"))
        assert "takes defects" in figure.axes[0].texts[0].get_text()
        save(figure)


class TestLoss:
    def test_losses_are_drawn_and_other_columns_are_not(self):
        history = pd.DataFrame(
            {"epoch": [1, 2, 3], "loss": [0.5, 0.3, 0.25], "learning_rate": 1e-3, "validation_loss": [0.6, np.nan, 0.4]}
        )
        figure = loss_figure(history)
        (axes,) = figure.axes
        lines = drawn(axes)
        assert list(lines) == ["training", "validation"]
        np.testing.assert_array_equal(lines["training"], history[["epoch", "loss"]])
        np.testing.assert_array_equal(lines["validation"], [[1, 0.6], [3, 0.4]])
        assert axes.get_title(loc="left") == "The training loss fell from 0.500 to 0.250 in 3 epochs"
        assert axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0
        save(figure)

    @pytest.mark.parametrize(
        ("losses", "scale"),
        [([9.0, 0.2], "log"), ([9.0, 0.0], "linear"), ([9.0, -0.2], "linear"), ([6.0, 0.2], "linear")],
    )
    def test_a_wide_range_of_positive_losses_is_logarithmic(self, losses, scale):
        figure = loss_figure(pd.DataFrame({"epoch": [1, 2], "loss": losses}))
        assert figure.axes[0].get_yscale() == scale
        assert ("logarithmic" in figure.axes[0].get_ylabel()) == (scale == "log")
        save(figure)

    def test_any_name_of_a_loss_can_be_drawn(self):
        figure = loss_figure(pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "$x_{$_loss": [3.0, 2.0]}))
        assert legend(figure.axes[0]) == ["training", "$x {$"]
        save(figure)

    @pytest.mark.parametrize(
        ("losses", "title"),
        [
            ([], "Training loss"),
            ([1.5], "The training loss after one epoch is 1.50"),
            ([1.0, 2.0], "The training loss rose from 1.00 to 2.00 in 2 epochs"),
        ],
    )
    def test_titles(self, losses, title):
        figure = loss_figure(pd.DataFrame({"epoch": np.arange(len(losses)), "loss": losses}))
        assert figure.axes[0].get_title(loc="left") == title
        save(figure)


class TestScores:
    scores = np.array([0.1, 0.2, 0.9, 0.8, 0.3, 0.7])
    labels = np.array([0, 0, 0, 1, 1, 1])
    defects = ("good", "good", "good", "cut", "cut", "$bent_{$")

    def test_each_image_is_a_dot_in_the_row_of_its_kind(self):
        figure = score_histogram(self.scores, self.labels, 0.5, defects=self.defects)
        upper, lower = figure.axes
        dots = {line.get_gid(): list(line.get_xdata()) for line in lower.lines}
        assert dots["right-good"] == [0.1, 0.2] and dots["wrong-good"] == [0.9]
        assert dots["right-cut"] == [0.8] and dots["wrong-cut"] == [0.3]
        assert dots["right-$bent_{$"] == [0.7] and dots["wrong-$bent_{$"] == []
        rows = {line.get_gid().split("-")[1]: line.get_ydata() for line in lower.lines if line.get_gid() != "threshold"}
        labels = [tick.get_text() for tick in lower.get_yticklabels()]
        assert list(lower.get_yticks()) == [0, 1, 2]
        assert labels == ["good\n1 of 3 false alarms", "$bent_{$\n1 of 1 found", "cut\n1 of 2 found"]
        for row, name in enumerate(["good", "$bent_{$", "cut"]):
            assert (np.abs(rows[name] - row) < 0.5).all()
        for axes in (upper, lower):
            assert [line.get_xdata()[0] for line in axes.lines if line.get_gid() == "threshold"] == [0.5]
        save(figure)

    @pytest.mark.parametrize("factor", [1.0, 1000.0])
    def test_histogram_counts_every_image_once(self, factor):
        scores = np.where(self.labels == 1, self.scores * factor, self.scores)
        upper, lower = score_histogram(scores, self.labels, 0.5).axes
        assert lower.get_xscale() == ("log" if factor > 1 else "linear")
        heights = [sum(bar.get_height() for bar in bars) for bars in upper.containers]
        assert heights == [3, 3]
        lefts = np.array([bar.get_x() for bar in upper.containers[0]])
        np.testing.assert_allclose(np.diff(np.log(lefts) if factor > 1 else lefts, 2), 0, atol=1e-9)
        assert legend(upper) == ["good parts", "defective parts", "threshold 0.500"]

    def test_scores_of_zero_or_below_have_a_linear_axis(self):
        figure = score_histogram([-0.1, 0.2, 90.0], [0, 0, 1], 0.5)
        assert figure.axes[1].get_xscale() == "linear"
        save(figure)

    def test_good_images_only_and_no_threshold(self):
        figure = score_histogram([1.0, 1.0], [0, 0], np.inf)
        assert figure.axes[0].get_title(loc="left") == "0 false alarms among 2 good parts"
        assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["good\n0 of 2 false alarms"]
        save(figure)

    @pytest.mark.parametrize("scores", [[], [1.0], [1.0, np.nan]])
    def test_refuses(self, scores):
        with pytest.raises(ValueError, match="scores"):
            score_histogram(scores, [0, 1], 0.5)
