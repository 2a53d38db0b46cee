"""The ROC curve of the images with the band in which other test images would put it, and the threshold's own point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from discrepancy.figures import style
from discrepancy.figures.curves import Roc

_RARE = 0.1  # false-alarm rates up to here fill the right half; more if the threshold has more


class Band(NamedTuple):
    """A band around a ROC curve: false-positive rate [K], lower and upper true-positive rate [K], all 0 to 1."""

    fpr: ArrayLike
    low: ArrayLike
    high: ArrayLike


def roc_band_figure(
    roc: Roc, band: Band, rates: Mapping[str, float] | None = None, *, confidence: float = 0.95, title: str = ""
) -> Figure:
    """Draw the ROC curve of the image scores in its band: whole on the left, few false alarms on the right.

    Args:
        roc: the curve of the image scores.
        band: around it; between two rates it stays as it is at the lower one.
        rates: of the threshold in use, each 0 to 1: `false_alarm_rate`, `detection_rate`, and of both the ends of
            their intervals, `..._low` and `..._high`. Without it only curve and band are drawn.
        confidence: of the band and of the intervals, 0 to 1, for the legend.
        title: heading of the whole curve; a sentence on what the threshold does unless given.

    Returns:
        A figure with two axes of the same content. Gids: `roc`, `band`, and `threshold` for the point of the rates.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 5.0)
    whole, rare = figure.subplots(1, 2)
    limit = _RARE
    if rates is not None:
        limit = min(1.0, max(_RARE, 2 * rates["false_alarm_rate"], 1.1 * rates["false_alarm_rate_high"]))
    style.dress(whole, title=title or _sentence(rates), x="", y="Defective parts found")
    style.dress(rare, title="The left end, enlarged", x="", y="Defective parts found")
    for axes, end in ((whole, 1.0), (rare, limit)):
        _draw(axes, roc, band, rates, f"{100 * confidence:.3g} %")
        axes.set_xlim(-0.015 * end, end)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("Good parts called anomalous (false alarms)", **style.text())
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    style.add_legend(whole, loc="lower right")  # the other half shows the same
    figure.tight_layout(w_pad=2.5)
    return figure


def _draw(axes: Axes, roc: Roc, band: Band, rates: Mapping[str, float] | None, confidence: str) -> None:
    label = f"{confidence} range, other test images"
    low, high = np.asarray(band.low, dtype=np.float64), np.asarray(band.high, dtype=np.float64)
    axes.fill_between(
        np.asarray(band.fpr), low, high, step="post", color=style.BLUE, alpha=0.2, linewidth=0, label=label, gid="band"
    )
    label = f"curve of all thresholds: AUROC {style.share(roc.auroc)}"
    axes.plot(np.asarray(roc.fpr), np.asarray(roc.tpr), color=style.BLUE, linewidth=2, label=label, gid="roc")
    if rates is not None:
        x, y = rates["false_alarm_rate"], rates["detection_rate"]
        point, *_ = axes.errorbar(
            x,
            y,
            xerr=[[x - rates["false_alarm_rate_low"]], [rates["false_alarm_rate_high"] - x]],
            yerr=[[y - rates["detection_rate_low"]], [rates["detection_rate_high"] - y]],
            fmt="o",
            color=style.INK,
            markersize=7,
            elinewidth=1.2,
            capsize=3,
            label=f"this threshold, with its {confidence} range",
            zorder=3,
        )
        point.set_gid("threshold")
    axes.plot([0, 1], [0, 1], color=style.QUIET, linewidth=1, linestyle=":", label="guessing")


def _sentence(rates: Mapping[str, float] | None) -> str:
    if rates is None:
        return "How much is found, at how many false alarms?"
    found, alarms = 100 * rates["detection_rate"], 100 * rates["false_alarm_rate"]
    return f"The threshold: {found:.3g} % found, {alarms:.3g} % false alarms"
