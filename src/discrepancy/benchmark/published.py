"""Published numbers to stand beside our own. What no source gives is not in the file, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

import pandas as pd

COMPARED = ("image_auroc", "pixel_auroc", "aupro_0.30")
"""Metrics whose published value stands beside ours in the tables."""

LIKE = {"aupro_0.30": "aupro_as_published"}
"""Metrics that published values approximate, and the one that approximates in the same way, by the name of each."""


def compared_with(columns: Collection[str]) -> dict[str, str]:
    """Return the metrics with published values, each by the one of `columns` that they are set beside.

    That is the one computed in the same way, if a benchmark has it.
    """
    return {LIKE[name] if LIKE.get(name) in columns else name: name for name in COMPARED}


def published_numbers() -> pd.DataFrame:
    """Return all published numbers that we know of, with their sources.

    Returns:
        one row per number, with the columns

        - `dataset`, `category` (`all`: the mean that the source states), `method` and `metric` (as we call it);
        - `variant`: of the method, and whether the paper or others say so;
        - `backbone`: the frozen network behind the number, as timm and torchvision call it;
        - `compared`: bool, True for the one variant of a method and metric that ours is set against. It is the paper's
          best where the paper states the metric, else an independent run of the authors' program;
        - `value` and `source`.

        They are not strictly comparable: these PRO areas are sums over 5,000 thresholds, and some numbers are of the
        best epoch on the test images.
    """
    with files("discrepancy.benchmark").joinpath("published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"category": str}, keep_default_na=False)
    return table.assign(compared=table["compared"] == "yes")


def to_compare(published: pd.DataFrame) -> dict[tuple[str, str, str, str], float]:
    """Return the values that ours are set against, by dataset, category, method and metric.

    Args:
        published: as `published_numbers` gives them.

    Raises:
        ValueError: two values for the same place.
    """
    chosen = published[published["compared"].astype(bool)]
    keys = ["dataset", "category", "method", "metric"]
    if chosen.duplicated(keys).any():
        twice = chosen[chosen.duplicated(keys)].iloc[0]
        raise ValueError(f"Published numbers: two values to compare with for {', '.join(twice[keys])}; expected one.")
    return {tuple(row[:-1]): float(row[-1]) for row in chosen[[*keys, "value"]].itertuples(index=False)}
