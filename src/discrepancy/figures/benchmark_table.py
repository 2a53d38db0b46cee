"""The benchmark's numbers as an HTML table that a script can sort, and the cells that failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from discrepancy.figures.labels import costs_of, label, method_label, metrics_of
from discrepancy.figures.style import number, share


def results_table(summary: pd.DataFrame, links: Mapping[tuple[str, str], str]) -> str:
    """Return the table: one row per category and method, means below in a part of their own.

    Every number's cell has its exact value as `data-value`; a head that sorts numbers has the class `number`. Without
    the script the table is the same, in the given order.

    Args:
        summary: rows with `dataset`, `category`, `method`, `level` (`category` or `mean`), `categories`,
            `categories_of`, `seeds_done`, `seeds_failed`, `seeds_missing`, and metrics and costs with `<name>_std`,
            perhaps `<name>_published` and `<name>_difference`.
        links: where (data set, category) leads on the page, `#...`.
    """
    many = summary["dataset"].nunique() > 1
    metrics, costs = metrics_of(summary), costs_of(summary)
    compared = [name for name in metrics if _any(summary, f"{name}_published")]
    heads = [_word_head("category", "category"), _word_head("method", "method")]
    heads += [_word_head("data set")] if many else []
    for name in metrics:
        heads.append(_number_head(label(name), name))
        if name in compared:
            heads.append(_number_head("published", f"{name}_published"))
            heads.append(_number_head("difference", f"{name}_difference"))
    heads += [_number_head(label(name), name) for name in costs] + [_number_head("seeds", "seeds_done")]

    bodies = []
    for kind, name in (("category", "singles"), ("mean", "means")):
        rows = summary[summary["level"] == kind].to_dict("records")
        lines = [f"<tr>{''.join(_row(row, metrics, compared, costs, links, many))}</tr>" for row in rows]
        bodies.append(f'<tbody class="{name}">\n' + "\n".join(lines) + "\n</tbody>")
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    table = f'<table class="results">\n{head}\n' + "\n".join(bodies) + "\n</table>"
    return f'<div class="wide numbers" role="region" aria-label="All numbers" tabindex="0">{table}</div>'


def unfinished_list(results: pd.DataFrame) -> str:
    """Return the runs that failed, each with its reason, and those that are missing; empty text if all are done.

    Seeds of a method and category that share state and reason stand on one line.
    """
    rest = results[results["state"] != "done"]
    many = results["dataset"].nunique() > 1
    lines = []
    columns = ["dataset", "category", "method", "state", "reason"]
    for (dataset, category, method, state, reason), cells in rest.groupby(columns, sort=False):
        part = f"{dataset}/{category}" if many else str(category)
        seeds = ("seed " if len(cells) == 1 else "seeds ") + ", ".join(str(seed) for seed in sorted(cells["seed"]))
        what = f"{state}: {reason}" if reason else str(state)
        lines.append(f"<li><b>{escape(f'{method_label(str(method))} on {part}, {seeds}')}</b> {escape(what)}</li>")
    return f'<ul class="lines">{"".join(lines)}</ul>' if lines else ""


def _row(
    row: Mapping[Any, Any],
    metrics: Sequence[str],
    compared: Sequence[str],
    costs: Sequence[str],
    links: Mapping[tuple[str, str], str],
    many: bool,
) -> list[str]:
    cells = [_category(row, links), f'<td class="method">{escape(method_label(str(row["method"])))}</td>']
    cells += [f"<td>{escape(str(row['dataset']))}</td>"] if many else []
    for name in metrics:
        cells.append(_number(row[name], share(row[name]), _spread(row[f"{name}_std"], share)))
        if name in compared:
            cells.append(_number(row[f"{name}_published"], share(row[f"{name}_published"])))
            difference = row[f"{name}_difference"]
            cells.append(_number(difference, "-" if math.isnan(difference) else f"{difference:+.3f}"))
    cells += [_number(row[name], number(row[name]), _spread(row[f"{name}_std"], number)) for name in costs]
    total = row["seeds_done"] + row["seeds_failed"] + row["seeds_missing"]
    seeds = str(total) if total == row["seeds_done"] else f"{row['seeds_done']} of {total}"
    return [*cells, _number(row["seeds_done"], seeds)]


def _category(row: Mapping[Any, Any], links: Mapping[tuple[str, str], str]) -> str:
    words = escape(str(row["category"]))
    if row["level"] == "mean":
        of = "" if row["categories"] == row["categories_of"] else f" of {row['categories_of']}"
        return f'<th scope="row" class="category">{words} <small>mean of {row["categories"]}{of}</small></th>'
    link = links.get((str(row["dataset"]), str(row["category"])))
    inner = f'<a href="{escape(link)}">{words}</a>' if link else words
    return f'<th scope="row" class="category">{inner}</th>'


def _number(value: float, words: str, spread: str = "") -> str:
    """A number's cell; one without a value sorts last."""
    if math.isnan(value):
        return '<td class="number quiet">–</td>'
    return f'<td class="number" data-value="{float(value)!r}">{words}{spread}</td>'


def _spread(std: float, write: Any) -> str:
    return "" if math.isnan(std) else f" <small>± {write(std)}</small>"


def _word_head(words: str, kind: str = "word") -> str:
    return f'<th scope="col" class="{kind}">{words}</th>'


def _number_head(words: str, name: str) -> str:
    return f'<th scope="col" class="number" title="{escape(name)}">{escape(words)}</th>'


def _any(summary: pd.DataFrame, name: str) -> bool:
    return name in summary and bool(summary[name].notna().any())
