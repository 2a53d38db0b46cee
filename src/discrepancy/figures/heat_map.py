"""A heat map as an HTML table: methods x categories, the number in each cell, in one hue from weak to strong.

One hue that only grows darker (in a dark theme: lighter) is read alike with any kind of colour vision. The words on
a colour are black or white, whichever is further from it, so each number has a contrast of at least 4.5 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from discrepancy.figures.labels import LOWER_IS_BETTER, label, method_label
from discrepancy.figures.style import share

LEVELS = 16
LIGHT = ("#f3f8fc", "#c9def0", "#74b0d8", "#2272b4", "#08306b")
DARK = ("#1e2933", "#1f4a6b", "#2f7cb0", "#6db6e3", "#d4edff")
"""Colours from the lowest to the highest value, blue as in the other figures."""

_FEW = 8  # of more categories the names are written upwards

Key = tuple[str, str]  # data set and category


def heat_map(summary: pd.DataFrame, metric: str, links: Mapping[Key, str]) -> str:
    """Return the table of one data set's metric.

    The colours span the lowest to the highest value shown. The best method of each category is underlined.

    Args:
        summary: one row per `category` and `method` of one data set, with `level` (`category` or `mean`),
            `categories`, `categories_of`, `seeds_failed`, the metric and `<metric>_std`.
        metric: a column.
        links: where (data set, category) leads on the page, `#...`.
    """
    columns = _columns(summary)
    methods = list(dict.fromkeys(summary["method"]))
    rows = {(row["category"], row["level"], row["method"]): row for row in summary.to_dict("records")}
    low, high = summary[metric].min(), summary[metric].max()
    first_mean = next((i for i, column in enumerate(columns) if column["level"] == "mean"), None)

    head = "".join(_head(column, links, i == first_mean) for i, column in enumerate(columns))
    lines = [f'<tr><th scope="col"><span>{escape(label(metric))}</span></th>{head}</tr>']
    best = [
        _best([rows.get((c["category"], c["level"], method), {}).get(metric, math.nan) for method in methods], metric)
        for c in columns
    ]
    for m, method in enumerate(methods):
        cells = []
        for i, column in enumerate(columns):
            row = rows.get((column["category"], column["level"], method), {})
            classes = ["best"] * (m in best[i]) + ["first-mean"] * (i == first_mean)
            cells.append(_cell(row, metric, (low, high), classes, links.get((column["dataset"], column["category"]))))
        lines.append(f'<tr><th scope="row">{escape(method_label(method))}</th>{"".join(cells)}</tr>')
    kind = "heat many" if len(columns) > _FEW else "heat"
    table = f'<table class="{kind}" style="--cells:{len(columns) + 1}">\n<thead>{lines[0]}</thead>\n<tbody>\n'
    return table + "\n".join(lines[1:]) + f"\n</tbody></table>\n{_scale(low, high)}"


def _columns(summary: pd.DataFrame) -> list[dict[Any, Any]]:
    """Each category and mean once, in order, and how many categories it is over, of how many."""
    counts = {"over": ("categories", "max"), "of": ("categories_of", "max")}
    return summary.groupby(["dataset", "category", "level"], sort=False).agg(**counts).reset_index().to_dict("records")


def colour_style() -> str:
    """Return the CSS of the colours, for a light and a dark theme."""
    light, dark = (
        "\n".join(f".level-{i} {{ background: {c}; color: {words_on(c)} }}" for i, c in enumerate(shades(stops)))
        for stops in (LIGHT, DARK)
    )
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def shades(stops: Sequence[str], count: int = LEVELS) -> list[str]:
    """Return count colours `#rrggbb` evenly spaced along the stops, which are evenly spaced too."""
    channels = [_channels(stop) for stop in stops]
    found = []
    for i in range(count):
        place = i / (count - 1) * (len(stops) - 1)
        left = min(int(place), len(stops) - 2)
        mixed = [a + (b - a) * (place - left) for a, b in zip(channels[left], channels[left + 1], strict=True)]
        found.append("#" + "".join(f"{round(value):02x}" for value in mixed))
    return found


def words_on(colour: str) -> str:
    """Return black or white, whichever has the higher contrast on the colour (WCAG 2.2, relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#fff"


def level(value: float, low: float, high: float) -> int:
    """Return which of the colours a value between low and high has, 0 to LEVELS - 1; the last where all are equal."""
    return LEVELS - 1 if high <= low else round((value - low) / (high - low) * (LEVELS - 1))


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _head(column: Mapping[Any, Any], links: Mapping[Key, str], first_mean: bool) -> str:
    words = escape(column["category"])
    if column["over"] < column["of"]:
        words += f" <small>{column['over']} of {column['of']}</small>"
    link = links.get((column["dataset"], column["category"])) if column["level"] == "category" else None
    inner = f'<a href="{escape(link)}">{words}</a>' if link else words
    return f'<th scope="col"{_class(["first-mean"] * first_mean)}><span>{inner}</span></th>'


def _cell(row: Mapping[Any, Any], metric: str, ends: tuple[float, float], classes: list[str], link: str | None) -> str:
    value = row.get(metric, math.nan)
    if math.isnan(value):
        words = "failed" if row.get("seeds_failed") else "–"
        return f"<td{_class(['none', *classes])}>{words}</td>"
    std = row[f"{metric}_std"]
    spread = "" if math.isnan(std) else f" ± {share(std)}"
    title = f"{method_label(row['method'])}, {row['category']}: {share(value)}{spread}"
    go = f' data-link="{escape(link)}"' if link and row["level"] == "category" else ""
    shown = [f"level-{level(value, *ends)}", *classes]
    return f'<td{_class(shown)} title="{escape(title)}"{go}>{share(value)}</td>'


def _best(values: Sequence[float], metric: str) -> set[int]:
    """Positions of the best values, as they are printed; none where there is nothing to compare."""
    known = [round(value, 3) for value in values if not math.isnan(value)]
    if len(known) < 2:
        return set()
    target = min(known) if metric in LOWER_IS_BETTER else max(known)
    return {i for i, value in enumerate(values) if not math.isnan(value) and round(value, 3) == target}


def _scale(low: float, high: float) -> str:
    if math.isnan(low):
        return ""
    steps = "".join(f'<i class="level-{i}"></i>' for i in range(LEVELS))
    ends = [f"<span>{share(value)}</span>" for value in (low, high)]
    return f'<p class="scale quiet">{ends[0]}<span class="steps">{steps}</span>{ends[1]}</p>'


def _class(names: Sequence[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""
