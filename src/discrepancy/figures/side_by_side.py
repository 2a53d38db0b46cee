"""For each category the methods' galleries, which stand side by side on the benchmark's page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pandas as pd

from discrepancy.figures.labels import label
from discrepancy.figures.style import share

CAPTION = ("image_auroc", "pixel_auroc", "aupro_0.30")
"""Metrics below a gallery."""

Galleries = Mapping[tuple[str, str, str], str]


def place(position: int) -> str:
    """Return the id of the part of the page for the category at a position: names may hold anything, numbers not."""
    return f"category-{position}"


def gallery(row: Mapping[Any, Any], galleries: Galleries) -> dict[str, str]:
    """Return what stands on the page for a method and category.

    Args:
        row: of the summary.
        galleries: path of a picture relative to the page, `/` between its parts, by (method, dataset, category).

    Returns:
        `method`, its `numbers`, the picture's `address` and `words` for those who do not see it; without a picture
        the address is empty, and `words` say why.
    """
    method, dataset, category = (str(row[name]) for name in ("method", "dataset", "category"))
    path = galleries.get((method, dataset, category))
    if path is None:
        words = "failed" if row["seeds_failed"] and not row["seeds_done"] else "no gallery"
    else:
        words = f"gallery of {method} on {category}"
    return {"method": method, "numbers": _numbers(row), "address": quote(path or ""), "words": words}


def _numbers(row: Mapping[Any, Any]) -> str:
    known = [name for name in CAPTION if not math.isnan(row.get(name, math.nan))]
    return " · ".join(f"{label(name)} {share(row[name])}" for name in known)


def in_parts(summary: pd.DataFrame) -> dict[tuple[str, str], list[dict[Any, Any]]]:
    """Return the rows of single categories, by (data set, category), in the summary's order."""
    parts: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in summary[summary["level"] == "category"].to_dict("records"):
        parts.setdefault((str(row["dataset"]), str(row["category"])), []).append(row)
    return parts
