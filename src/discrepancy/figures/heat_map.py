"""A heat map as an HTML table: methods x categories, the number in each cell, in one hue from weak to strong.

One hue that only grows darker (in a dark theme: lighter) is read alike with any kind of colour vision. The words on
a colour are black or white, whichever is further from it, so each number has a contrast of at least 4.5 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from discrepancy.figures.html import render
from discrepancy.figures.labels import LOWER_IS_BETTER, label
from discrepancy.figures.style import share

LEVELS = 16
LIGHT = ("#f3f8fc", "#c9def0", "#74b0d8", "#2272b4", "#08306b")
DARK = ("#1e2933", "#1f4a6b", "#2f7cb0", "#6db6e3", "#d4edff")
"""Colours from the lowest to the highest value, blue as in the other figures."""

_FEW = 8  # of more categories the names are written upwards

Key = tuple[str, str]  # data set and category


def heat_map(summary: pd.DataFrame, metric: str, links: Mapping[Key, str]) -> Markup:
    """Return the table of one data set's metric.

    The colours span the lowest to the highest value shown. The best method of each category is underlined.

    Args:
        summary: one row per `category` and `method` of one data set, with `level` (`category` or `mean`),
            `categories`, `categories_of`, `seeds_failed`, the metric and `<metric>_std`.
        metric: a column.
        links: where (data set, category) leads on the page, `#...`.
    """
    columns = _columns(summary, links)
    methods = list(dict.fromkeys(summary["method"]))
    found = {(row["category"], row["level"], row["method"]): row for row in summary.to_dict("records")}
    low, high = summary[metric].min(), summary[metric].max()
    rows: list[tuple[str, list[dict[str, Any]]]] = [(method, []) for method in methods]
    for column in columns:
        records = [found.get((column["category"], column["level"], method), {}) for method in methods]
        best = _best([record.get(metric, math.nan) for record in records], metric)
        for m, record in enumerate(records):
            marks = ["best"] * (m in best) + ["first-mean"] * column["first_mean"]
            rows[m][1].append(_cell(record, metric, (low, high), marks) | {"link": column["link"]})
    return render(
        "heat_map.html",
        metric=label(metric),
        columns=columns,
        rows=rows,
        ends=None if math.isnan(low) else (share(low), share(high)),
        levels=LEVELS,
        few=_FEW,
    )


def _columns(summary: pd.DataFrame, links: Mapping[Key, str]) -> list[dict[Any, Any]]:
    """Return each category and mean once, in order: how many categories it is over, of how many, where it leads."""
    counts = {"over": ("categories", "max"), "of": ("categories_of", "max")}
    found = summary.groupby(["dataset", "category", "level"], sort=False).agg(**counts).reset_index().to_dict("records")
    first_mean = next((i for i, column in enumerate(found) if column["level"] == "mean"), None)
    for i, column in enumerate(found):
        key = (column["dataset"], column["category"])
        column["link"] = links.get(key) if column["level"] == "category" else None
        column["first_mean"] = i == first_mean
    return found


def colour_style() -> Markup:
    """Return the CSS of the colours, for a light and a dark theme."""
    light, dark = ([(shade, words_on(shade)) for shade in shades(stops)] for stops in (LIGHT, DARK))
    return render("heat_map.css", light=light, dark=dark)


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


def _cell(row: Mapping[Any, Any], metric: str, ends: tuple[float, float], marks: list[str]) -> dict[str, str]:
    """Return a cell's classes, its title and what stands in it; without a value the title is empty."""
    value = row.get(metric, math.nan)
    if math.isnan(value):
        words = "failed" if row.get("seeds_failed") else "–"
        return {"classes": " ".join(["none", *marks]), "title": "", "words": words}
    std = row[f"{metric}_std"]
    spread = "" if math.isnan(std) else f" ± {share(std)}"
    title = f"{row['method']}, {row['category']}: {share(value)}{spread}"
    return {"classes": " ".join([f"level-{level(value, *ends)}", *marks]), "title": title, "words": share(value)}


def _best(values: Sequence[float], metric: str) -> set[int]:
    """Return the positions of the best values, as they are printed; none where there is nothing to compare."""
    known = [round(value, 3) for value in values if not math.isnan(value)]
    if len(known) < 2:
        return set()
    target = min(known) if metric in LOWER_IS_BETTER else max(known)
    return {i for i, value in enumerate(values) if not math.isnan(value) and round(value, 3) == target}
