"""The benchmark's numbers as an HTML table that a script can sort, and the runs without a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from discrepancy.figures.html import render
from discrepancy.figures.labels import costs_of, label, metrics_of
from discrepancy.figures.style import number, share

Column = tuple[str, str, Callable[[float], str]]
"""Name in the summary, name for readers, and how its values are written."""


def results_table(summary: pd.DataFrame, links: Mapping[tuple[str, str], str]) -> Markup:
    """Return the table: one row per category and method, means below in a part of their own.

    Every number's cell has its exact value as `data-value`; a head that sorts numbers has the class `number`. Without
    the script the table is the same, in the given order.

    Args:
        summary: rows with `dataset`, `category`, `method`, `level` (`category` or `mean`), `categories`,
            `categories_of`, `seeds_done`, `seeds_failed`, `seeds_missing`, and metrics and costs with `<name>_std`,
            perhaps `<name>_published` and `<name>_difference`.
        links: where (data set, category) leads on the page, `#...`.
    """
    columns = _columns(summary)
    rows: dict[str, list[dict[str, Any]]] = {"category": [], "mean": []}
    for row in summary.to_dict("records"):
        rows[row["level"]].append(_row(row, columns, links))
    return render(
        "results_table.html",
        many=summary["dataset"].nunique() > 1,
        columns=[*((name, words) for name, words, _ in columns), ("seeds_done", "seeds")],
        bodies=[("singles", rows["category"]), ("means", rows["mean"])],
    )


def unfinished_runs(results: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the runs that failed or are missing, and for each its state and reason.

    Seeds of a method and category that share state and reason are one entry.
    """
    rest = results[results["state"] != "done"]
    many = results["dataset"].nunique() > 1
    entries = []
    columns = ["dataset", "category", "method", "state", "reason"]
    for (dataset, category, method, state, reason), trials in rest.groupby(columns, sort=False):
        part = f"{dataset}/{category}" if many else str(category)
        seeds = ("seed " if len(trials) == 1 else "seeds ") + ", ".join(str(seed) for seed in sorted(trials["seed"]))
        entries.append((f"{method} on {part}, {seeds}", f"{state}: {reason}" if reason else state))
    return entries


def _columns(summary: pd.DataFrame) -> list[Column]:
    columns: list[Column] = []
    for name in metrics_of(summary):
        columns.append((name, label(name), share))
        published = f"{name}_published"
        if published in summary and summary[published].notna().any():
            columns += [(published, "published", share), (f"{name}_difference", "difference", "{:+.3f}".format)]
    return columns + [(name, label(name), number) for name in costs_of(summary)]


def _row(row: Mapping[Any, Any], columns: list[Column], links: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    dataset, category = str(row["dataset"]), str(row["category"])
    single = row["level"] == "category"
    some = row["categories"] != row["categories_of"]
    done, total = row["seeds_done"], row["seeds_done"] + row["seeds_failed"] + row["seeds_missing"]
    seeds = {"value": float(done), "words": str(total) if total == done else f"{done} of {total}", "spread": ""}
    return {
        "category": category,
        "link": links.get((dataset, category)) if single else None,
        "over": "" if single else f"{row['categories']} of {row['categories_of']}" if some else row["categories"],
        "method": str(row["method"]),
        "dataset": dataset,
        "cells": [*(_cell(row, name, write) for name, _, write in columns), seeds],
    }


def _cell(row: Mapping[Any, Any], name: str, write: Callable[[float], str]) -> dict[str, Any] | None:
    """Return a number as words and exactly, with its deviation over seeds; None if there is no value."""
    if math.isnan(row[name]):
        return None
    std = row.get(f"{name}_std", math.nan)
    return {"value": float(row[name]), "words": write(row[name]), "spread": "" if math.isnan(std) else write(std)}
