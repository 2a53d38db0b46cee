"""Tests of difference between methods in words and numbers, for a page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from discrepancy.figures.html import html_table, render
from discrepancy.figures.labels import label
from discrepancy.figures.rank_plot import rank_plot

LEVEL = 0.05


def comparison_part(comparison: pd.DataFrame, ranks: pd.DataFrame | None = None) -> Markup:
    """Return what the tests say, the table of pairs, and the table of ranks.

    Args:
        comparison: `dataset`, `metric`, `method`, `other`, `categories`, `mean_difference`, `wins`, `losses`, `p`,
            `p_holm`, `note`.
        ranks: `dataset`, `metric`, `method`, `mean_rank`, `categories`, `friedman_p`, `critical_difference`, `note`.
    """
    if comparison.empty:
        return render("comparison.html", verdicts=[])
    tables, plots = [html_table(_pairs(comparison))], []
    if ranks is not None and not ranks.empty:
        tables.append(html_table(_ranks(ranks)))
        plots = _plots(ranks[ranks["critical_difference"].notna()])
    return render("comparison.html", verdicts=_verdicts(comparison), plots=plots, tables=tables, level=LEVEL)


def _verdicts(comparison: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what the pairs say, one entry per data set and metric; metrics that say the same share theirs."""
    many = comparison["dataset"].nunique() > 1
    metrics: dict[tuple[str, str], list[str]] = {}
    for (dataset, metric), pairs in comparison.groupby(["dataset", "metric"], sort=False):
        said = "; ".join(dict.fromkeys(map(str, pairs["note"])))
        metrics.setdefault((str(dataset), said), []).append(label(str(metric)))
    return [((f"{dataset}, " if many else "") + ", ".join(names), said) for (dataset, said), names in metrics.items()]


def _plots(ranks: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a plot of the mean ranks per data set and metric, of rows with a critical difference."""
    plots = []
    for (dataset, metric), part in ranks.groupby(["dataset", "metric"], sort=False):
        heading = (f"{dataset}, " if ranks["dataset"].nunique() > 1 else "") + label(str(metric))
        names, values = [str(name) for name in part["method"]], list(part["mean_rank"])
        words = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(names, values, strict=True))
        plots.append(
            {
                "heading": heading,
                "differ": part["friedman_p"].iloc[0] <= LEVEL,
                "plot": rank_plot(
                    names,
                    values,
                    float(part["critical_difference"].iloc[0]),
                    words=f"mean ranks by {heading}: {words}",
                ),
            }
        )
    return plots


def _pairs(comparison: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "metric": [label(str(name)) for name in comparison["metric"]],
        "method": [str(name) for name in comparison["method"]],
        "against": [str(name) for name in comparison["other"]],
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
        "method": [str(name) for name in ranks["method"]],
        "mean rank": [f"{value:.2f}" for value in ranks["mean_rank"]],
        "categories": ranks["categories"],
        "p (Friedman)": [probability(value) for value in ranks["friedman_p"]],
        "critical difference": ["-" if math.isnan(value) else f"{value:.2f}" for value in ranks["critical_difference"]],
        "what it says": list(map(str, ranks["note"])),
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
