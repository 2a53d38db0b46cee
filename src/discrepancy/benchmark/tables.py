"""Tables of a benchmark: mean and standard deviation over seeds, means over categories, published numbers beside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from discrepancy.benchmark.groups import ALL, groups, in_order, is_whole
from discrepancy.benchmark.published import compared_with, to_compare
from discrepancy.errors import InputError
from discrepancy.figures.style import number, share

METRICS: Final = (
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "aupro_0.30",
    "aupro_0.05",
    "aupro_as_published",
    "best_iou",
    "detection_rate",
    "false_alarm_rate",
    "oracle_detection_at_target",
    "region_recall",
    "false_regions_per_good_image",
    "outlined_good_share",
)
COSTS: Final = ("train_seconds", "images_per_second", "peak_memory_mib", "peak_gpu_memory_mib", "peak_gpu_reserved_mib")
SHOWN: Final = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_as_published", "best_iou")
"""Metrics of the readable table; the whole one has all."""

STATES: Final = ("done", "failed", "missing")
KEYS: Final = ("dataset", "category", "method", "seed")

Published = dict[tuple[str, str, str, str], float]


def summarise(results: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return one row per dataset, category and method, and means over textures, objects and all categories.

    A mean is over the categories that every method of the data set has finished with at least one seed, so that all
    methods' means are over the same ones. A method that has finished none is not compared.

    Args:
        results: one row per trial, in any order: `dataset`, `category`, `method`, `seed`, `state` (`done`, `failed`,
            `missing`), and any of `METRICS` and `COSTS`, NaN where not defined.
        published: as `published_numbers` gives them.

    Returns:
        a table with the columns

        - `dataset`, `category` (or `textures`, `objects`, `all`), `method` and `level` (`category` or `mean`);
        - `categories` and `categories_of`: how many the row is over, and of how many;
        - `seeds_done`, `seeds_failed` and `seeds_missing`; of a mean: done in all of its categories, failed or missing
          in one;
        - for each metric and cost its mean and, as `<name>_std`, its standard deviation over the seeds (n - 1; NaN for
          a single seed). Of a mean the deviation is that of the seeds' means;
        - `<name>_published` and `<name>_difference` (ours less theirs) for the metrics of `published.compared_with`.

    Raises:
        ValueError: a column or a state that is not expected, or a trial that is there twice.
    """
    table = check_results(results)
    numbers = [name for name in (*METRICS, *COSTS) if name in table]
    theirs = to_compare(published)
    rows: list[dict[str, Any]] = []
    for dataset, part in table.groupby("dataset", sort=True):
        for category in in_order(str(dataset), part["category"]):
            for method, trials in part[part["category"] == category].groupby("method", sort=True):
                rows.append(_category_row(str(dataset), category, str(method), trials, numbers, theirs))
        rows += _mean_rows(str(dataset), part, numbers, theirs)
    return pd.DataFrame(rows, columns=None if rows else _columns(numbers))


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of a report's folder; a category may be called 01 or NA.

    Raises:
        InputError: the file is missing, or no table.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError("no plain file")
        return pd.read_csv(path, dtype={"category": str}, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: cannot be read ({reason}); expected a table, as a benchmark's report has it"
        ) from error


def check_results(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results sorted by trial, with numbers as floats.

    Raises:
        ValueError: a column or a state that is not expected, or a trial that is there twice.
    """
    if absent := [name for name in (*KEYS, "state") if name not in results]:
        raise ValueError(f"Results lack the columns {', '.join(absent)}; found {', '.join(map(str, results.columns))}.")
    if strange := sorted({str(state) for state in results["state"]} - set(STATES)):
        raise ValueError(f"Results hold the state {strange[0]!r}; expected {', '.join(STATES)}.")
    if results.duplicated(list(KEYS)).any():
        twice = results[results.duplicated(list(KEYS))].iloc[0]
        raise ValueError(f"Results hold {', '.join(str(twice[key]) for key in KEYS)} twice; expected each trial once.")
    numbers = {name: results[name].astype(float) for name in (*METRICS, *COSTS) if name in results}
    return results.assign(**numbers).sort_values(list(KEYS)).reset_index(drop=True)


def common_categories(table: pd.DataFrame) -> list[str]:
    """Return the categories, by name, that every method which finished any has finished with at least one seed."""
    done = table[table["state"] == "done"]
    finished = [set(trials["category"]) for _, trials in done.groupby("method")]
    return sorted(set.intersection(*finished)) if finished else []


def compact(summary: pd.DataFrame, metrics: Iterable[str] = SHOWN) -> pd.DataFrame:
    """Return the table for a terminal or a document: words only, a metric's mean and deviation in one cell.

    A mean over a single category would only say the category's row again, and is left out.

    Args:
        summary: of `summarise`.
        metrics: which ones to show, where there are any values of them.

    Returns:
        columns `dataset` (where there is more than one), `category`, `method`, `seeds`, the metrics, each with
        `... published` and `... difference` where there are any, and the costs, means alone.
    """
    summary = summary[(summary["level"] == "category") | (summary["categories_of"] > 1)]
    columns: dict[str, Sequence[str]] = {}
    if summary["dataset"].nunique() > 1:
        columns["dataset"] = list(summary["dataset"])
    columns["category"] = [_category_words(row) for row in summary.to_dict("records")]
    columns["method"] = list(summary["method"])
    columns["seeds"] = [_seed_words(row) for row in summary.to_dict("records")]
    for name in metrics:
        if name not in summary or summary[name].isna().all():
            continue
        columns[name] = [_spread(*pair) for pair in zip(summary[name], summary[f"{name}_std"], strict=True)]
        if f"{name}_published" in summary and summary[f"{name}_published"].notna().any():
            columns[f"{name} published"] = [share(value) for value in summary[f"{name}_published"]]
            columns[f"{name} difference"] = [_signed(value) for value in summary[f"{name}_difference"]]
    for name in COSTS:
        if name in summary and summary[name].notna().any():
            columns[name] = [number(value) for value in summary[name]]
    return pd.DataFrame(columns)


def _columns(numbers: Sequence[str]) -> list[str]:
    """Names of the columns of a summary without rows."""
    return list(_row("", "", "", "", [], 0, pd.Series(dtype=str)) | _values({}, {}, numbers, {}))


def _category_row(
    dataset: str, category: str, method: str, trials: pd.DataFrame, numbers: Sequence[str], theirs: Published
) -> dict[str, Any]:
    done = trials.loc[trials["state"] == "done", numbers]
    compared = compared_with(numbers)
    published = {ours: theirs.get((dataset, category, method, name), math.nan) for ours, name in compared.items()}
    row = _row(dataset, category, method, "category", [category], 1, trials.set_index("seed")["state"])
    return row | _values(done.mean(), done.std(ddof=1), numbers, published)


def _mean_rows(dataset: str, part: pd.DataFrame, numbers: Sequence[str], theirs: Published) -> list[dict[str, Any]]:
    rows = []
    common = common_categories(part)
    for group, members in groups(dataset, part["category"]).items():
        for method, trials in part[part["category"].isin(members)].groupby("method", sort=True):
            finished = set(trials.loc[trials["state"] == "done", "category"])
            counted = [category for category in members if category in common and category in finished]
            of_these = trials[trials["category"].isin(counted)]
            states = _seed_states(of_these, counted)
            row = _row(dataset, group, str(method), "mean", counted, len(members), states)
            published = {
                ours: _published_mean(theirs, dataset, group, str(method), name, counted)
                for ours, name in compared_with(numbers).items()
            }
            rows.append(row | _values(*_means(of_these, states, numbers), numbers, published))
    return rows


def _seed_states(trials: pd.DataFrame, categories: Sequence[str]) -> pd.Series:
    """State of each seed over several categories: failed or missing in any of them, or else done."""
    if trials.empty:
        return pd.Series(dtype=str)
    table = trials.pivot(index="seed", columns="category", values="state").reindex(columns=categories)
    return table.fillna("missing").apply(_worst, axis=1)


def _means(trials: pd.DataFrame, states: pd.Series, numbers: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """Mean over the categories' means, and deviation over the seeds that all categories have done.

    Not defined in one category is not defined as a mean: a mean over fewer would say something else.
    """
    done = trials[trials["state"] == "done"]
    of_categories = done.groupby("category")[list(numbers)].mean()
    whole = done[done["seed"].isin(states.index[states == "done"])]
    of_seeds = whole.groupby("seed")[list(numbers)].mean()
    mean = of_categories.mean(skipna=False)
    return mean, of_seeds.std(ddof=1).where(mean.notna())


def _published_mean(
    theirs: Published, dataset: str, group: str, method: str, metric: str, categories: Sequence[str]
) -> float:
    """The published mean over the same categories: as stated where they are all there are, else of the single ones."""
    stated = theirs.get((dataset, ALL, method, metric), math.nan)
    if group == ALL and categories and is_whole(dataset, ALL, categories) and not math.isnan(stated):
        return stated
    values = [theirs.get((dataset, category, method, metric), math.nan) for category in categories]
    return float(np.mean(values)) if values else math.nan


def _row(
    dataset: str, category: str, method: str, level: str, categories: Sequence[str], of: int, states: pd.Series
) -> dict[str, Any]:
    head: dict[str, Any] = {"dataset": dataset, "category": category, "method": method, "level": level}
    head |= {"categories": len(categories), "categories_of": of}
    return head | {f"seeds_{state}": int((states == state).sum()) for state in STATES}


def _values(mean: Any, spread: Any, numbers: Sequence[str], published: dict[str, float]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in numbers:
        values[name] = float(mean.get(name, math.nan))
        values[f"{name}_std"] = float(spread.get(name, math.nan))
    for name in compared_with(numbers):
        values[f"{name}_published"] = published.get(name, math.nan)
        values[f"{name}_difference"] = values.get(name, math.nan) - values[f"{name}_published"]
    return values


def _worst(states: pd.Series) -> str:
    """A seed's state in several categories: failed, missing or done, in this order."""
    return next(state for state in ("failed", "missing", "done") if (states == state).any())


def _category_words(row: dict[Any, Any]) -> str:
    if row["level"] == "category":
        return str(row["category"])
    of = "" if row["categories"] == row["categories_of"] else f" of {row['categories_of']}"
    return f"{row['category']} (mean of {row['categories']}{of})"


def _seed_words(row: dict[Any, Any]) -> str:
    total = sum(row[f"seeds_{state}"] for state in STATES)
    return str(total) if row["seeds_done"] == total else f"{row['seeds_done']} of {total}"


def _spread(mean: float, std: float) -> str:
    return share(mean) if math.isnan(std) else f"{share(mean)} ± {share(std)}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}"
