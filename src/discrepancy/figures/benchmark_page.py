"""The benchmark as one page that opens from disk: heat map, sortable table, tests of difference, galleries."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files

import pandas as pd

from discrepancy.figures.benchmark_table import results_table, unfinished_list
from discrepancy.figures.comparison import comparison_part
from discrepancy.figures.heat_map import colour_style, heat_map
from discrepancy.figures.html import html_page
from discrepancy.figures.labels import label, method_label, metrics_of
from discrepancy.figures.side_by_side import Galleries, category_part, in_parts, place
from discrepancy.figures.style import share

DEMO = "demo"
SYNTHETIC = "synthetic images"
NOT_COMPARABLE = (
    "Published numbers are not strictly comparable: PRO areas are sums over 5,000 thresholds, FOD's numbers of the "
    "best epoch on the test images. Ours are exact, of the last epoch, and by default of a smaller backbone."
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
) -> str:
    """Return the page as HTML: everything but the galleries' pictures is inside, and nothing is fetched.

    Without JavaScript the table stands in the order of the summary, the heat map shows each metric below the other,
    and all galleries are open.

    Args:
        results: one row per cell: `dataset`, `category`, `method`, `seed`, `state` (`done`, `failed`, `missing`) and
            `reason`.
        summary: one row per data set, category and method, and means: `dataset`, `category`, `method`, `level`
            (`category` or `mean`), `categories`, `categories_of`, `seeds_done`, `seeds_failed`, `seeds_missing`; for
            each metric and cost its mean and `<name>_std`; perhaps `<name>_published` and `<name>_difference`.
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
    sections = [("Heat map", _heat_maps(summary, links)), ("All numbers", results_table(summary, links))]
    if unfinished := unfinished_list(results):
        sections.append(("Runs without a result", unfinished))
    sections.append(("Is the difference real?", comparison_part(comparison, ranks)))
    sections.append(("Galleries", _galleries(parts, galleries)))
    if sources := _sources(summary, published):
        sections.append(("Published numbers", sources))
    return html_page(title, sections, intro=_intro(results), style=colour_style() + _text("css"), script=_text("js"))


def _intro(results: pd.DataFrame) -> str:
    """What was run: methods, data sets, seeds, and how many cells are done."""
    datasets = [_data_set(str(name)) for name in sorted(set(results["dataset"]))]
    methods = ", ".join(method_label(str(name)) for name in sorted(set(results["method"])))
    categories = results[["dataset", "category"]].drop_duplicates()
    counts = {state: int((results["state"] == state).sum()) for state in ("done", "failed", "missing")}
    seeds = results["seed"].nunique()
    what = f"{methods} on {_count(len(categories), 'category', 'categories')} of {', '.join(datasets)}"
    return (
        f"{what}, {_count(seeds, 'seed', 'seeds')}: {_count(len(results), 'run', 'runs')}, {counts['done']} done, "
        f"{counts['failed']} failed, {counts['missing']} missing."
    )


def _heat_maps(summary: pd.DataFrame, links: Mapping[tuple[str, str], str]) -> str:
    """A heat map per data set and metric; the script shows one metric at a time, the one that is chosen."""
    metrics = metrics_of(summary)
    if not metrics:
        return '<p class="quiet">no run has a result</p>'
    options = "".join(f'<option value="{escape(name)}">{escape(label(name))}</option>' for name in metrics)
    choice = f'<p class="choice" hidden><label>Metric <select id="metric">{options}</select></label></p>'
    blocks = [choice]
    for name in metrics:
        tables = []
        for dataset, part in summary.groupby("dataset", sort=False):
            if summary["dataset"].nunique() > 1:
                tables.append(f"<h3>{escape(_data_set(str(dataset)))}</h3>")
            box = f'<div class="wide" role="region" aria-label="Heat map, {escape(label(name))}" tabindex="0">'
            tables.append(f"{box}{heat_map(part, name, links)}</div>")
        blocks.append(f'<div class="metric" data-metric="{escape(name)}">{"".join(tables)}</div>')
    best = '<span class="best-sign">Underlined</span>: the best of a category.'
    words = f"Means over seeds. {best} A click on a category leads to its galleries."
    return "\n".join([*blocks, f'<p class="quiet">{words}</p>'])


def _galleries(parts: Mapping[tuple[str, str], list[dict]], galleries: Galleries) -> str:
    many = len({dataset for dataset, _ in parts}) > 1
    return "\n".join(
        category_part(
            rows,
            galleries,
            identity=place(i),
            heading=(f"{dataset}/{category}" if many else category) + (f" ({SYNTHETIC})" if dataset == DEMO else ""),
        )
        for i, ((dataset, category), rows) in enumerate(parts.items())
    )


def _sources(summary: pd.DataFrame, published: pd.DataFrame | None) -> str:
    """Published means and their sources, a line per method and variant; empty text if none is of what is shown."""
    if published is None:
        return ""
    shown = set(zip(summary["dataset"], summary["method"], strict=True))
    means = published[published["category"] == "all"]
    means = means[[key in shown for key in zip(means["dataset"], means["method"], strict=True)]]
    lines = []
    for (dataset, method, variant, source), rows in means.groupby(
        ["dataset", "method", "variant", "source"], sort=False
    ):
        values = [
            f"<{tag}>{escape(label(str(metric)))} {share(value)}</{tag}>"
            for metric, value, compared in rows[["metric", "value", "compared"]].itertuples(index=False)
            for tag in ["b" if compared else "span"]
        ]
        head = f"{method_label(str(method))} on {_data_set(str(dataset))}, {variant}"
        lines.append(f'<li>{escape(head)}: {", ".join(values)}. <span class="quiet">{escape(str(source))}</span></li>')
    if not lines:
        return ""
    explained = f"<p>Means over the categories. In bold: what ours is set against. {escape(NOT_COMPARABLE)}</p>"
    return f'{explained}\n<ul class="lines">{"".join(lines)}</ul>'


def _data_set(name: str) -> str:
    return f"{name} ({SYNTHETIC})" if name == DEMO else name


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _text(kind: str) -> str:
    return files("discrepancy.figures").joinpath(f"benchmark_page.{kind}").read_text(encoding="utf-8")
