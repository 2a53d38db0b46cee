"""The image scores of good and defective parts, beside the threshold that parts them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from discrepancy.figures import style
from discrepancy.figures.cases import found_anomalous, summary

_BINS = 30
_LABEL = 240  # pixels of a kind's name
_LOG_RANGE = 30.0  # a highest score this many times the lower quartile needs a logarithmic axis
_GOLDEN = 0.618034  # its multiples, modulo 1, spread points evenly in any number


def score_histogram(
    scores: ArrayLike, labels: ArrayLike, threshold: float, *, defects: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Draw the distribution of image scores above, and each image as a dot, by kind of defect, below.

    Args:
        scores: image scores [N], finite, N > 0, higher = more anomalous.
        labels: 0 good, 1 anomalous, [N].
        threshold: images above it are called anomalous; those decided wrongly are drawn as crosses.
        defects: kind of each image [N]; those of good images do not matter. Without it all defects are one kind.
        title: heading; the count of right decisions unless given.

    Returns:
        A figure with two axes that share the score axis, which is logarithmic where all scores are positive and the
        highest is more than 30 times the lower quartile. Gids: `threshold` for the line, `right-<kind>` and
        `wrong-<kind>` for the dots, the kind of good parts being `good`.

    Raises:
        ValueError: lengths differ, no score, or one that is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels) == 1
    kinds = np.asarray(["defective"] * values.size if defects is None else list(defects), dtype=object)
    if values.ndim != 1 or values.size == 0 or not values.shape == truth.shape == kinds.shape:
        raise ValueError(f"Expected N > 0 scores, labels and kinds, found {values.size}, {truth.size}, {kinds.size}.")
    if not np.isfinite(values).all():
        raise ValueError("Expected finite image scores.")
    found = found_anomalous(values, threshold)
    names = sorted({str(kind) for kind in kinds[truth]})
    groups = [("good", ~truth)] if not truth.all() else []
    groups += [(name, truth & (kinds == name)) for name in names]

    figure = style.new_figure(9.0, 3.4 + 0.42 * len(groups))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 0.6 + 0.42 * len(groups)))
    logarithmic = is_logarithmic(values)
    style.dress(upper, title=title or summary(truth, found).rstrip("."), x="", y="Images")
    style.dress(lower, title="", x="Image score" + (" (logarithmic)" if logarithmic else ""), y="")
    if logarithmic:
        lower.set_xscale("log")
    _draw_histogram(upper, values, truth, logarithmic)
    for row, (name, members) in enumerate(groups):
        _draw_dots(lower, row, name, values, members, found != truth)
    lower.set_yticks(range(len(groups)), [_row_label(name, truth[members], found[members]) for name, members in groups])
    for tick in lower.get_yticklabels():
        tick.set(**style.text(style.SMALL))
    lower.set_ylim(len(groups) - 0.4, -0.6)
    for axes in (upper, lower):
        if np.isfinite(threshold):
            label = f"threshold {style.number(threshold)}"
            axes.axvline(threshold, color=style.INK, linewidth=1.5, linestyle="--", label=label, gid="threshold")
    style.add_legend(upper, loc="upper right")
    figure.tight_layout()
    return figure


def is_logarithmic(values: NDArray[np.float64]) -> bool:
    """Return whether scores [N] need a logarithmic axis: all positive, the highest 30 times the lower quartile."""
    return bool(values.min() > 0 and values.max() > _LOG_RANGE * np.quantile(values, 0.25))


def score_edges(values: NDArray[np.float64], logarithmic: bool) -> list[float]:
    """Return the edges of the bins of a histogram that holds all scores [N], equally wide on their axis."""
    edges = np.histogram_bin_edges(np.log(values) if logarithmic else values, _BINS)
    edges = np.exp(edges) if logarithmic else edges
    # Rounding of exp(log(x)) must not put the outermost scores outside.
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())
    return list(edges)


def spread(row: int, count: int) -> NDArray[np.floating]:
    """Return heights [count] about a row, less than 0.5 away, so that dots of equal scores do not hide each other."""
    return row + 0.5 * ((np.arange(count) * _GOLDEN) % 1.0 - 0.5)


def _draw_histogram(axes: Axes, values: NDArray[np.float64], truth: NDArray[np.bool_], logarithmic: bool) -> None:
    edges = score_edges(values, logarithmic)
    for members, words, colour in ((~truth, "good parts", style.GOOD), (truth, "defective parts", style.ANOMALOUS)):
        if members.any():
            axes.hist(values[members], bins=edges, color=colour, alpha=0.65, label=words)


def _draw_dots(
    axes: Axes, row: int, name: str, values: NDArray[np.float64], members: NDArray[np.bool_], wrong: NDArray[np.bool_]
) -> None:
    """Draw one kind's images as dots about their row, spread so that equal scores do not hide each other."""
    heights = spread(row, int(members.sum()))
    x, failed = values[members], wrong[members]
    colour = style.GOOD if name == "good" else style.ANOMALOUS
    axes.plot(x[~failed], heights[~failed], "o", color=colour, alpha=0.7, markersize=5, gid=f"right-{name}")
    axes.plot(x[failed], heights[failed], "X", color=style.WRONG, markersize=7, gid=f"wrong-{name}")


def _row_label(name: str, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> str:
    count = f"{int(found.sum())} of {found.size}"
    return f"{style.fit(name, _LABEL, style.SMALL)}\n{count} {'found' if truth.any() else 'false alarms'}"
