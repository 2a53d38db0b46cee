"""Predictions as one page that opens from disk: a table with thumbnails, sortable, with filters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from discrepancy.figures.html import render
from discrepancy.names import escaped


class PageRow(NamedTuple):
    """A photograph on the page.

    Attributes:
        line: its line of the table of predictions.
        outline: SVG path around its regions, in pixels of the thumbnail.
        thumbnail: width and height of the thumbnail, px; empty if the photograph could not be read.
        picture: path of its thumbnail in `thumbnails/`, and of its larger picture in a folder like it.
    """

    line: Mapping[str, Any]
    outline: str
    thumbnail: Sequence[int]
    picture: str


def prediction_page(title: str, rows: Sequence[PageRow], *, pictures: str) -> Markup:
    """Return the page as HTML; thumbnails lie beside it, in `thumbnails/`, and load when they come near.

    Args:
        title: heading of the page.
        rows: one per photograph.
        pictures: folder beside the page with the picture that a click opens.
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.line["decision"]] = counts.get(row.line["decision"], 0) + 1
    thresholds = [row.line["threshold"] for row in rows if "threshold" in row.line]
    return render(
        "prediction_page.html",
        title=title,
        intro=_intro(counts, thresholds[0] if thresholds else None),
        counts=counts,
        total=len(rows),
        threshold=thresholds[0] if thresholds else None,
        data=_data(rows),
        pictures=quote(pictures),
    )


def _intro(counts: Mapping[str, int], threshold: float | None) -> str:
    said = ", ".join(f"{count:,} {decision}" for decision, count in sorted(counts.items()))
    above = "" if threshold is None else f" Scores above {threshold:.4g} are anomalous."
    return f"{sum(counts.values()):,} photographs: {said or 'none'}.{above}"


def _data(rows: Sequence[PageRow]) -> Markup:
    """Return the rows as JSON that may stand in a script element."""
    values = [
        {
            "file": escaped(str(row.line["file"])),
            "address": quote(row.picture, errors="surrogateescape"),
            "decision": row.line["decision"],
            "score": row.line.get("score"),
            "ratio": row.line.get("relative_score"),
            "likely": row.line.get("false_alarm_probability"),
            "regions": row.line.get("regions"),
            "largest": row.line.get("largest_region"),
            "reason": row.line.get("reason") or "",
            "outline": row.outline,
            "size": list(row.thumbnail),
        }
        for row in rows
    ]
    text = json.dumps(values, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # no tag can end the element
