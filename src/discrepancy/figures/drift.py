"""Scores of good parts at the calibration before and now, with the threshold of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from discrepancy.figures import style
from discrepancy.figures.cases import found_anomalous
from discrepancy.figures.scores import is_logarithmic, score_edges, spread

BEFORE, NOW = style.BLUE, style.PURPLE
_HEADROOM = 1.4  # above the bars, for the legend
_ROOM = 0.04  # beside the outermost score or threshold, as a share of the axis


def comparison_figure(
    before: ArrayLike, now: ArrayLike, threshold_before: float, threshold_now: float, title: str = ""
) -> Figure:
    """Draw the scores of good parts at the calibration before and now, with the threshold of each.

    Args:
        before: image scores of good parts at the calibration before [N], finite, N > 0.
        now: image scores of new photographs of good parts [M], finite, M > 0.
        threshold_before: set at the calibration before.
        threshold_now: set on the new photographs; not finite where there is none.
        title: heading; how many new photographs the old threshold calls anomalous unless given.

    Returns:
        A figure with two axes that share the score axis: shares of the photographs above, and each photograph as a dot
        below. The axis is logarithmic as in `score_histogram`. Gids: `threshold-before`, `threshold-now`, and `before`
        and `now` for the dots.

    Raises:
        ValueError: no score, or one that is not finite.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64)
    for name, values in (("before", old), ("now", new)):
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"Expected finite scores [N], N > 0, as {name}, found {values}.")
    everything = np.concatenate([old, new])
    logarithmic = is_logarithmic(everything)
    thresholds = (("before", "old", threshold_before, BEFORE), ("now", "new", threshold_now, NOW))

    figure = style.new_figure(9.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1.4))
    style.dress(upper, title=title or _sentence(new, threshold_before), x="", y="Share of the photographs")
    style.dress(lower, title="", x="Image score of good parts" + (" (logarithmic)" if logarithmic else ""), y="")
    if logarithmic:
        lower.set_xscale("log")
    edges = score_edges(everything, logarithmic)
    groups = (("before", "calibration before", old, BEFORE), ("now", "new photographs", new, NOW))
    for row, (gid, words, values, colour) in enumerate(groups):
        _draw_shares(upper, values, edges, colour, words)
        lower.plot(values, spread(row, values.size), "o", color=colour, alpha=0.7, markersize=5, gid=gid)
    for axes in (upper, lower):
        for gid, words, value, colour in thresholds:
            if math.isfinite(value):
                label = f"{words} threshold {style.number(value)}"
                axes.axvline(value, color=colour, linewidth=1.8, linestyle="--", label=label, gid=f"threshold-{gid}")
    upper.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    lower.set_xlim(_limits(np.append(everything, [value for *_, value, _ in thresholds]), logarithmic))
    lower.set_yticks([0, 1], [_row_label(words, values, thresholds) for _, words, values, _ in groups])
    for tick in lower.get_yticklabels():
        tick.set(**style.text(style.SMALL))
    lower.set_ylim(1.6, -0.6)
    upper.set_ylim(0, _HEADROOM * upper.get_ylim()[1])
    style.add_legend(upper, loc="best")
    figure.tight_layout()
    return figure


def _draw_shares(axes: Axes, values: NDArray[np.float64], edges: list[float], colour: str, words: str) -> None:
    """Draw which share of the values lies in each bin: the two groups seldom have the same size."""
    label = f"{words} ({values.size})"
    weights = np.full(values.size, 1 / values.size)
    axes.hist(values, bins=edges, weights=weights, color=colour, alpha=0.55, label=label)


def _row_label(words: str, values: NDArray[np.float64], thresholds: Sequence[tuple[str, str, float, str]]) -> str:
    counts = [
        f"{int(found_anomalous(values, value).sum())} above the {which} threshold"
        for _, which, value, _ in thresholds
        if math.isfinite(value)
    ]
    return "\n".join([f"{words}: {values.size}", *counts])


def _limits(values: NDArray[np.float64], logarithmic: bool) -> tuple[float, float]:
    """Return the ends of a score axis that shows all finite values, the thresholds too, with room beside them."""
    shown = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    ends = np.array([shown.min(), shown.max()])
    if logarithmic:
        room = (ends[1] / ends[0]) ** _ROOM
        return float(ends[0] / room), float(ends[1] * room)
    room = _ROOM * (ends[1] - ends[0]) or 0.5
    return float(ends[0] - room), float(ends[1] + room)


def _sentence(new: NDArray[np.float64], threshold: float) -> str:
    if not math.isfinite(threshold):
        return "Scores of good parts at the calibration before and now"
    alarms = int(found_anomalous(new, threshold).sum())
    return f"The old threshold calls {alarms} of {new.size} new photographs of good parts anomalous"
