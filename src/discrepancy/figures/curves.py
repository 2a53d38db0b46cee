"""ROC, PRO and loss curves. Curves come as arrays, ready to draw."""

from __future__ import annotations

from itertools import cycle
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from discrepancy.figures import style

_MOST_POINTS = 4_000
_RARE = 0.1  # false-positive rates up to here fill the right half of the ROC figure
_LOG_RANGE = 30.0  # a wider range of losses than this needs a logarithmic axis


class Roc(NamedTuple):
    """A ROC curve: false-positive rate [K] and true-positive rate [K], both 0 to 1 and rising, and the area below."""

    fpr: ArrayLike
    tpr: ArrayLike
    auroc: float


def roc_figure(image: Roc | None, pixel: Roc | None = None, *, title: str = "") -> Figure:
    """Draw the image-level and the pixel-level ROC curve: whole on the left, few false alarms on the right.

    Args:
        image: curve of the image scores; None where a test set lacks good or anomalous images.
        pixel: curve of all pixels; None where there are no masks.
        title: heading of the whole curves; a question that they answer unless given.

    Returns:
        A figure with two axes of the same curves. Of a curve with over 4,000 points an even selection is drawn.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 4.8)
    whole, rare = figure.subplots(1, 2)
    style.dress(whole, title=title or "How much is found, at how many false alarms?", x="", y="True-positive rate")
    style.dress(rare, title="The same where false alarms are few", x="", y="True-positive rate")
    for axes in (whole, rare):
        for curve, words, colour in ((image, "images", style.BLUE), (pixel, "pixels", style.ORANGE)):
            if curve is not None:
                label = f"{words}: AUROC {style.share(curve.auroc)}"
                axes.plot(*_thinned(curve.fpr, curve.tpr), color=colour, linewidth=2, label=label)
        axes.plot([0, 1], [0, 1], color=style.QUIET, linewidth=1, linestyle=":", label="guessing")
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("False-positive rate", **style.text())
        style.add_legend(axes, loc="lower right")
        if image is None and pixel is None:
            style.say(axes, "No curve: it takes good and defective images.")
    whole.set_xlim(-0.01, 1)
    rare.set_xlim(-0.01 * _RARE, _RARE)  # a little to the left, so that a curve along the axis is seen whole
    figure.tight_layout(w_pad=2.5)
    return figure


def pro_figure(fpr: ArrayLike, pro: ArrayLike, aupro: float, *, fpr_limit: float = 0.30, title: str = "") -> Figure:
    """Draw the PRO curve and shade the area that counts.

    Args:
        fpr: false-positive rate over all good pixels [K], 0 to 1, rising.
        pro: per-region overlap, the mean over all defects of their share that is found [K], 0 to 1, rising. Both may
            be empty: a test set without defects has no curve.
        aupro: area below the curve up to the limit, by the limit, 0 to 1.
        fpr_limit: false-positive rate up to which the area counts, above 0 and at most 1.
        title: heading; a question that the curve answers unless given.
    """
    figure = style.new_figure(6.4, 4.8)
    axes = figure.subplots()
    heading = title or "How much of each defect is outlined, at how many false pixels?"
    style.dress(axes, title=heading, x="False-positive rate of good pixels", y="Mean share found of each defect (PRO)")
    x, y = _thinned(fpr, pro)
    if x.size:
        axes.plot(x, y, color=style.BLUE, linewidth=2)
        label = f"AUPRO@{fpr_limit:.2f}: {style.share(aupro)}"
        end = float(np.interp(fpr_limit, x, y))
        inside = x <= fpr_limit
        area_x, area_y = np.append(x[inside], fpr_limit), np.append(y[inside], end)
        axes.fill_between(area_x, area_y, color=style.BLUE, alpha=0.15, linewidth=0, label=label)
        axes.axvline(fpr_limit, color=style.QUIET, linewidth=1, linestyle="--", label=f"limit {fpr_limit:.2f}")
        style.add_legend(axes, loc="lower right")
    else:
        style.say(axes, "No curve: it takes defects with masks.")
    axes.set_xlim(-0.01 * fpr_limit, min(1.0, 1.1 * fpr_limit))
    axes.set_ylim(0, 1.02)
    figure.tight_layout()
    return figure


def loss_figure(history: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the losses of a training run, epoch by epoch.

    Args:
        history: column `epoch`, column `loss` (training) and any number of columns that end in `_loss`, such as
            `validation_loss`; other columns are left out. A series may have gaps (NaN). The axis is logarithmic where
            all losses are positive and span more than a factor of 30.
        title: heading; a sentence on the first and the last training loss unless given.
    """
    figure = style.new_figure(7.6, 4.4)
    axes = figure.subplots()
    values: list[float] = []
    for name, colour in zip(_loss_columns(history), cycle(style.PALETTE), strict=False):
        known = history[["epoch", name]].dropna()
        if known.empty:
            continue
        label = "training" if name == "loss" else name.removesuffix("_loss").replace("_", " ")
        dots = "o" if len(known) <= 30 else ""
        axes.plot(known["epoch"], known[name], color=colour, linewidth=2, marker=dots, markersize=3.5, label=label)
        values.extend(known[name])
    style.dress(axes, title=title or _loss_sentence(history["loss"].dropna()), x="Epoch", y="Loss")
    if values and min(values) > 0 and max(values) > _LOG_RANGE * min(values):
        axes.set_yscale("log")
        axes.set_ylabel("Loss (logarithmic)", **style.text())
    elif values and min(values) >= 0:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(history) == 1:
        axes.set_xlim(history["epoch"].iloc[0] - 1, history["epoch"].iloc[0] + 1)
    if values:
        style.add_legend(axes, loc="upper right")
    else:
        style.say(axes, "No epoch was trained.")
    figure.tight_layout()
    return figure


def _loss_columns(history: pd.DataFrame) -> list[str]:
    others = [name for name in history.columns if str(name).endswith("_loss")]
    return ["loss", *others]


def _loss_sentence(losses: pd.Series) -> str:
    if losses.empty:
        return "Training loss"
    first, last = float(losses.iloc[0]), float(losses.iloc[-1])
    if len(losses) == 1:
        return f"The training loss after one epoch is {style.number(last)}"
    way = "fell" if last < first else "rose" if last > first else "stayed"
    return f"The training loss {way} from {style.number(first)} to {style.number(last)} in {len(losses)} epochs"


def _thinned(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most 4,000 points of a rising curve, evenly spaced along it, first and last among them."""
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if across.size <= _MOST_POINTS:
        return across, up
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(across)) + np.abs(np.diff(up)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], _MOST_POINTS)))
    return across[kept], up[kept]
