"""Tests of difference between methods in words and numbers, for a page."""

from __future__ import annotations

import math
import re
from html import escape

import pandas as pd

from discrepancy.figures.html import html_table
from discrepancy.figures.labels import label, method_label
from discrepancy.figures.rank_plot import rank_plot

LEVEL = 0.05
_METHOD = (
    "Wilcoxon's signed-rank test over the categories' means over seeds, two-sided, corrected by Holm for the pairs of "
    "a metric. With three methods or more: Friedman's test of their ranks, and Nemenyi's critical difference. Level "
    f"{LEVEL}."
)


def comparison_part(comparison: pd.DataFrame, ranks: pd.DataFrame | None = None) -> str:
    """Return what the tests say, the table of pairs, and the table of ranks.

    Args:
        comparison: `dataset`, `metric`, `method`, `other`, `categories`, `mean_difference`, `wins`, `losses`, `p`,
            `p_holm`, `note`.
        ranks: `dataset`, `metric`, `method`, `mean_rank`, `categories`, `friedman_p`, `critical_difference`, `note`.
    """
    if comparison.empty:
        return '<p class="quiet">nothing to compare: it takes two methods with results</p>'
    tables = [html_table(_pairs(comparison))]
    if ranks is not None and not ranks.empty:
        tables.append(html_table(_ranks(ranks)))
    inside = "\n".join(["<summary>The tests in numbers</summary>", *tables, f'<p class="quiet">{_METHOD}</p>'])
    return f'{_verdicts(comparison)}\n{_plots(ranks)}<details class="tests">\n{inside}\n</details>'


def _verdicts(comparison: pd.DataFrame) -> str:
    """What the pairs say, one line per data set and metric; metrics that say the same share theirs."""
    many = comparison["dataset"].nunique() > 1
    metrics: dict[tuple[str, str], list[str]] = {}
    for (dataset, metric), pairs in comparison.groupby(["dataset", "metric"], sort=False):
        said = "; ".join(dict.fromkeys(_said(pairs)))
        metrics.setdefault((str(dataset), said), []).append(label(str(metric)))
    lines = [
        f"<li><b>{escape((f'{dataset}, ' if many else '') + ', '.join(names))}</b>: {escape(said)}</li>"
        for (dataset, said), names in metrics.items()
    ]
    return f'<ul class="lines">{"".join(lines)}</ul>'


def _said(rows: pd.DataFrame) -> list[str]:
    """The notes, with the methods' names as readers know them."""
    names = sorted({str(name) for column in ("method", "other") if column in rows for name in rows[column]})
    words = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    return [words.sub(lambda found: method_label(found[0]), str(note)) for note in rows["note"]]


def _plots(ranks: pd.DataFrame | None) -> str:
    """The mean ranks per data set and metric, where there are enough categories for any two to differ."""
    known = pd.DataFrame() if ranks is None or ranks.empty else ranks[ranks["critical_difference"].notna()]
    if known.empty:
        return ""
    figures = []
    for (dataset, metric), part in known.groupby(["dataset", "metric"], sort=False):
        heading = (f"{dataset}, " if known["dataset"].nunique() > 1 else "") + label(metric)
        names = [method_label(str(name)) for name in part["method"]]
        words = f"mean ranks by {heading}: " + ", ".join(
            f"{name} {rank:.2f}" for name, rank in zip(names, part["mean_rank"], strict=True)
        )
        plot = rank_plot(names, list(part["mean_rank"]), float(part["critical_difference"].iloc[0]), words=words)
        none = "" if part["friedman_p"].iloc[0] <= LEVEL else " <small>no difference shown</small>"
        figures.append(f"<figure><figcaption>{escape(heading)}{none}</figcaption>{plot}</figure>")
    explained = (
        "Mean rank over the categories, 1 is best. Where Friedman's test shows a difference, methods whose bars do not "
        "overlap differ."
    )
    return f'<div class="rank-plots">{"".join(figures)}</div>\n<p class="quiet">{explained}</p>\n'


def _pairs(comparison: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "metric": [label(str(name)) for name in comparison["metric"]],
        "method": [method_label(str(name)) for name in comparison["method"]],
        "against": [method_label(str(name)) for name in comparison["other"]],
        "categories": comparison["categories"],
        "mean difference": [_signed(value) for value in comparison["mean_difference"]],
        "higher in": comparison["wins"],
        "lower in": comparison["losses"],
        "p": [probability(value) for value in comparison["p"]],
        "p (Holm)": [probability(value) for value in comparison["p_holm"]],
    }
    return _with_dataset(comparison, columns)


def _ranks(ranks: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "metric": [label(str(name)) for name in ranks["metric"]],
        "method": [method_label(str(name)) for name in ranks["method"]],
        "mean rank": [f"{value:.2f}" for value in ranks["mean_rank"]],
        "categories": ranks["categories"],
        "p (Friedman)": [probability(value) for value in ranks["friedman_p"]],
        "critical difference": ["-" if math.isnan(value) else f"{value:.2f}" for value in ranks["critical_difference"]],
        "what it says": _said(ranks),
    }
    return _with_dataset(ranks, columns)


def _with_dataset(frame: pd.DataFrame, columns: dict) -> pd.DataFrame:
    if frame["dataset"].nunique() > 1:
        columns = {"data set": frame["dataset"], **columns}
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def probability(p: float) -> str:
    """Return a p value with two significant digits, `-` where there is none."""
    if math.isnan(p):
        return "-"
    return f"{p:.1e}" if p < 0.0005 else f"{p:.2g}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"
