"""The benchmark as one page that opens from disk: heat map, sortable table, tests of difference, galleries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from discrepancy.figures.benchmark_table import results_table, unfinished_runs
from discrepancy.figures.comparison import comparison_part
from discrepancy.figures.heat_map import colour_style, heat_map
from discrepancy.figures.html import render
from discrepancy.figures.labels import label, metrics_of
from discrepancy.figures.side_by_side import Galleries, gallery, in_parts, place
from discrepancy.figures.style import share

DEMO = "demo"
SYNTHETIC = "synthetic images"
NOT_COMPARABLE = (
    "Published numbers are not strictly comparable: PRO areas are sums over 5,000 thresholds, and some numbers are of "
    "the best epoch on the test images. Ours are exact, of the last epoch, and by default of a smaller backbone. The "
    "column of AUPRO as published, if it was asked for, approximates as the papers do."
)


def benchmark_page(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    comparison: pd.DataFrame,
    galleries: Galleries,
    *,
    ranks: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    title: str = "Benchmark",
) -> Markup:
    """Return the page as HTML: everything but the galleries' pictures is inside, and nothing is fetched.

    Without JavaScript the table stands in the order of the summary, the heat map shows each metric below the other,
    and all galleries are open.

    Args:
        results: one row per trial: `dataset`, `category`, `method`, `seed`, `state` (`done`, `failed`, `missing`) and
            `reason`.
        summary: one row per data set, category and method, and means: `dataset`, `category`, `method`, `level`
            (`category` or `mean`), `categories`, `categories_of`, `seeds_done`, `seeds_failed`, `seeds_missing`. For
            each metric and cost its mean and `<name>_std`, perhaps `<name>_published` and `<name>_difference`.
        comparison: one row per data set, metric and pair of methods: `dataset`, `metric`, `method`, `other`,
            `categories`, `mean_difference`, `wins`, `losses`, `p`, `p_holm`, `note`.
        galleries: path of a picture relative to the page, by (method, data set, category); those without have none.
        ranks: one row per data set, metric and method: `dataset`, `metric`, `method`, `mean_rank`, `categories`,
            `friedman_p`, `critical_difference`, `note`.
        published: `dataset`, `category`, `method`, `metric`, `variant`, `compared`, `value`, `source`; shown are the
            means (category `all`) of methods and data sets on the page.
        title: heading of the page.
    """
    parts = in_parts(summary)
    links = {key: f"#{place(i)}" for i, key in enumerate(parts)}
    return render(
        "benchmark_page.html",
        title=title,
        intro=_intro(results),
        colours=colour_style(),
        heat_maps=_heat_maps(summary, links),
        results=results_table(summary, links),
        unfinished=unfinished_runs(results),
        comparison=comparison_part(comparison, ranks),
        categories=_categories(parts, galleries),
        published=[] if published is None else _published(summary, published),
        not_comparable=NOT_COMPARABLE,
    )


def _intro(results: pd.DataFrame) -> str:
    """Return what was run: methods, data sets, seeds, and how many trials are done."""
    datasets = [_data_set(str(name)) for name in sorted(set(results["dataset"]))]
    methods = ", ".join(sorted(set(results["method"])))
    categories = results[["dataset", "category"]].drop_duplicates()
    counts = {state: int((results["state"] == state).sum()) for state in ("done", "failed", "missing")}
    seeds = max(results.groupby("method")["seed"].nunique(), default=0)  # each method may have its own
    what = f"{methods} on {_count(len(categories), 'category', 'categories')} of {', '.join(datasets)}"
    return (
        f"{what}, {_count(seeds, 'seed', 'seeds')}: {_count(len(results), 'run', 'runs')}, {counts['done']} done, "
        f"{counts['failed']} failed, {counts['missing']} missing."
    )


def _heat_maps(summary: pd.DataFrame, links: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """Return for each metric its name, its label, and a heat map with its heading per data set."""
    many = summary["dataset"].nunique() > 1
    datasets = [(_data_set(str(name)) if many else "", part) for name, part in summary.groupby("dataset", sort=False)]
    return [
        {"name": name, "label": label(name), "maps": [(head, heat_map(part, name, links)) for head, part in datasets]}
        for name in metrics_of(summary)
    ]


def _categories(parts: Mapping[tuple[str, str], list[dict]], galleries: Galleries) -> list[dict[str, Any]]:
    """Return for each category its place on the page, its heading, and the methods' galleries."""
    many = len({dataset for dataset, _ in parts}) > 1
    return [
        {
            "place": place(i),
            "heading": _data_set(dataset, f"{dataset}/{category}" if many else category),
            "galleries": [gallery(row, galleries) for row in rows],
        }
        for i, ((dataset, category), rows) in enumerate(parts.items())
    ]


def _published(summary: pd.DataFrame, published: pd.DataFrame) -> list[dict[str, Any]]:
    """Return published means of what is shown, by method and variant: heading, source, numbers."""
    shown = set(zip(summary["dataset"], summary["method"], strict=True))
    means = published[published["category"] == "all"]
    means = means[[key in shown for key in zip(means["dataset"], means["method"], strict=True)]]
    columns = ["dataset", "method", "variant", "source"]
    return [
        {
            "heading": f"{method} on {_data_set(str(dataset))}, {variant}",
            "source": source,
            "numbers": [
                (f"{label(str(metric))} {share(value)}", compared)
                for metric, value, compared in rows[["metric", "value", "compared"]].itertuples(index=False)
            ],
        }
        for (dataset, method, variant, source), rows in means.groupby(columns, sort=False)
    ]


def _data_set(name: str, words: str = "") -> str:
    """Return the name, or the words in its place; of rendered images they say so."""
    return f"{words or name} ({SYNTHETIC})" if name == DEMO else words or name


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
