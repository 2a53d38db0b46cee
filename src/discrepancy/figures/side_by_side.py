"""For each category the methods' galleries side by side: one part of the page each, opened by a click."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd

from discrepancy.figures.labels import label, method_label
from discrepancy.figures.style import share

CAPTION = ("image_auroc", "pixel_auroc", "aupro_0.30")
"""Metrics below a gallery."""

Galleries = Mapping[tuple[str, str, str], str]


def place(position: int) -> str:
    """Return the id of the part of the page for the category at a position: names may hold anything, numbers not."""
    return f"category-{position}"


def category_part(rows: Sequence[Mapping[Any, Any]], galleries: Galleries, *, identity: str, heading: str) -> str:
    """Return the part of one category: a heading that opens and closes it, and the methods' galleries.

    It is open as written, so that nothing is hidden where no script runs; pictures load when they come near.

    Args:
        rows: of the summary, one per method, all of one data set and category.
        galleries: path of a picture relative to the page, `/` between its parts, by (method, dataset, category).
        identity: id of the part.
        heading: words.
    """
    figures = "\n".join(_figure(row, galleries) for row in rows)
    return (
        f'<details class="part" id="{escape(identity)}" open>\n<summary><h3>{escape(heading)}</h3></summary>\n'
        f'<div class="galleries">\n{figures}\n</div>\n</details>'
    )


def _figure(row: Mapping[Any, Any], galleries: Galleries) -> str:
    method, dataset, category = (str(row[name]) for name in ("method", "dataset", "category"))
    path = galleries.get((method, dataset, category))
    name = method_label(method)
    caption = f"<figcaption><b>{escape(name)}</b> <span>{escape(_numbers(row))}</span></figcaption>"
    if path is None:
        why = "failed" if row["seeds_failed"] and not row["seeds_done"] else "no gallery"
        return f'<figure>{caption}<p class="empty quiet">{why}</p></figure>'
    address, words = escape(quote(path)), escape(f"gallery of {name} on {category}")
    picture = f'<img src="{address}" alt="{words}" loading="lazy" width="1100" height="865">'
    return f'<figure>{caption}<a href="{address}" title="the picture alone">{picture}</a></figure>'


def _numbers(row: Mapping[Any, Any]) -> str:
    known = [name for name in CAPTION if not math.isnan(row.get(name, math.nan))]
    return " · ".join(f"{label(name)} {share(row[name])}" for name in known)


def in_parts(summary: pd.DataFrame) -> dict[tuple[str, str], list[dict[Any, Any]]]:
    """Return the rows of single categories, by (data set, category), in the summary's order."""
    parts: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in summary[summary["level"] == "category"].to_dict("records"):
        parts.setdefault((str(row["dataset"]), str(row["category"])), []).append(row)
    return parts
