"""Is one method better than another, or was it chance? Paired tests over the categories, and what they cannot tell.

The unit is the category: its mean over seeds is one number per method. Seeds of a category are not independent
evidence of which method is better on categories to come, so they are not counted as more of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from discrepancy.benchmark.published import COMPARED
from discrepancy.benchmark.tables import check_results

LEVEL = 0.05
_DECIMALS = 12  # differences closer than this are rounding, and tie

PAIRS = (
    "dataset",
    "metric",
    "method",
    "other",
    "categories",
    "mean_difference",
    "wins",
    "losses",
    "p",
    "p_holm",
    "note",
)
RANKS = ("dataset", "metric", "method", "mean_rank", "categories", "friedman_p", "critical_difference", "note")


def compare(results: pd.DataFrame, metrics: Iterable[str] = COMPARED) -> pd.DataFrame:
    """Test every pair of methods, per data set and metric, by Wilcoxon's signed-rank test over categories.

    Args:
        results: as for `tables.summarise`.
        metrics: higher is better in all of them.

    Returns:
        one row per data set, metric and pair (`method`, `other`), with the columns `PAIRS`. `categories` counts those
        that all methods have finished. `mean_difference` is method less other; `wins` and `losses` count categories
        where method is higher, or lower. `p` is two-sided, 1 where all are equal; `p_holm` is after Holm's correction
        for the pairs of that metric. `note` says in words what this means.
    """
    rows: list[dict[str, Any]] = []
    for dataset, metric, means in _category_means(results, metrics):
        pairs = list(combinations(means.columns, 2))
        gaps = [np.round((means[a] - means[b]).to_numpy(dtype=float), _DECIMALS) for a, b in pairs]
        values = [signed_rank_p(gap) for gap in gaps]
        adjusted = holm(values)
        for (method, other), gap, p, p_holm in zip(pairs, gaps, values, adjusted, strict=True):
            row = {"dataset": dataset, "metric": metric, "method": method, "other": other, "categories": len(gap)}
            row |= {"mean_difference": float(gap.mean()) if len(gap) else math.nan}
            row |= {"wins": int((gap > 0).sum()), "losses": int((gap < 0).sum()), "p": p, "p_holm": p_holm}
            rows.append(row | {"note": _pair_note(method, other, gap, p_holm, len(pairs))})
    return pd.DataFrame(rows, columns=list(PAIRS))


def rank_methods(results: pd.DataFrame, metrics: Iterable[str] = COMPARED) -> pd.DataFrame:
    """Rank the methods on every category, and test by Friedman whether they differ at all.

    Two mean ranks differ at the level of 0.05 if they are further apart than Nemenyi's critical difference. Source:
    Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, section 3.2.2.

    Args:
        results: as for `tables.summarise`.
        metrics: higher is better in all of them.

    Returns:
        one row per data set, metric and method, best first, with the columns `RANKS`. A `mean_rank` of 1 is best.
        `friedman_p` and `critical_difference` are NaN below three methods, or below the six categories from which a
        single pair's signed-rank test can reach the level.
    """
    rows: list[dict[str, Any]] = []
    for dataset, metric, means in _category_means(results, metrics):
        count, methods = means.shape
        ranks = means.round(_DECIMALS).rank(axis=1, ascending=False).mean().sort_values(kind="stable")
        enough = methods >= 3 and count >= fewest_categories(1)
        p = friedman_p(means.round(_DECIMALS).to_numpy()) if enough else math.nan
        difference = critical_difference(methods, count) if enough else math.nan
        note = _rank_note(ranks, count, p, difference)
        head = {"dataset": dataset, "metric": metric}
        tail = {"categories": count, "friedman_p": p, "critical_difference": difference, "note": note}
        rows += [head | {"method": name, "mean_rank": float(rank)} | tail for name, rank in ranks.items()]
    return pd.DataFrame(rows, columns=list(RANKS))


def signed_rank_p(differences: ArrayLike) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; pairs without a difference are left out.

    Exact up to 50 pairs without ties and up to 13 with ties (scipy counts all signs), else by the normal distribution.

    Args:
        differences: [n], finite.

    Returns:
        0 to 1; 1 where nothing differs.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    return float(stats.wilcoxon(values).pvalue) if values.size > 1 else 1.0


def signed_rank_sum(differences: NDArray[np.float64]) -> float:
    """Return the sum of the ranks of the differences' sizes, each with its difference's sign: what the test judges.

    Its sign may be another than that of the mean, which a single large difference can turn.
    """
    return float((np.sign(differences) * stats.rankdata(np.abs(differences))).sum())


def holm(values: Sequence[float]) -> list[float]:
    """Return p values after Holm's step-down correction for having made so many tests, in the given order.

    Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(values)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - step) * values[i]))
        adjusted[i] = largest
    return adjusted


def friedman_p(scores: NDArray[np.float64]) -> float:
    """Return the p of Friedman's test that all methods are alike: scores [categories, methods], three methods or more.

    1 where every category is a tie of all methods.
    """
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*scores.T).pvalue)


def critical_difference(methods: int, categories: int, level: float = LEVEL) -> float:
    """Return how far two mean ranks must be apart to differ at the level: Nemenyi's test.

    q * sqrt(k (k + 1) / (6 N)), q the quantile of the studentized range of k means by sqrt(2) (Demsar 2006).
    """
    q = stats.studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * categories)))


def fewest_categories(pairs: int, level: float = LEVEL) -> int:
    """Return with how many categories a signed-rank test can reach the level at all, corrected for so many pairs.

    Even if one method is higher in all n categories, p is 2 / 2^n.
    """
    return math.ceil(math.log2(2 * pairs / level))


def _category_means(results: pd.DataFrame, metrics: Iterable[str]) -> list[tuple[str, str, pd.DataFrame]]:
    """Means over seeds, per data set and metric: categories x methods, where there are two methods or more.

    A category counts if every method that has finished any has a value for it.
    """
    table = check_results(results)
    found = []
    for dataset, part in table.groupby("dataset", sort=True):
        done = part[part["state"] == "done"]
        methods = sorted(set(done["method"]))
        for metric in metrics:
            if metric in done and len(methods) >= 2:
                means = done.pivot_table(index="category", columns="method", values=metric, aggfunc="mean")
                found.append((str(dataset), metric, means.reindex(columns=methods).dropna()))
    return found


def _pair_note(method: str, other: str, gap: NDArray[np.float64], p: float, pairs: int) -> str:
    count = len(gap)
    if not count:
        return "nothing to compare: no category that all methods have finished"
    if p <= LEVEL:
        better, worse = (method, other) if signed_rank_sum(gap) > 0 else (other, method)
        return f"{better} is higher than {worse}"
    needed = fewest_categories(pairs)
    if count < needed:
        categories = "1 category is" if count == 1 else f"{count} categories are"
        least = min(1.0, pairs * 2 / 2**count)
        return (
            f"{categories} too few to tell: even if one method were always higher, p could not be below {least:.2g}; "
            f"from {needed} categories on it can be below {LEVEL}"
        )
    return f"no difference shown between {method} and {other}"


def _rank_note(ranks: pd.Series, categories: int, p: float, difference: float) -> str:
    if len(ranks) < 3:
        return "two methods: see the pair"
    if math.isnan(difference):
        return f"too few categories to tell: {categories}, expected {fewest_categories(1)} or more"
    if p > LEVEL:
        return "no difference among the methods shown"
    pairs = combinations(ranks.index, 2)
    apart = [f"{better} above {worse}" for better, worse in pairs if ranks[worse] - ranks[better] > difference]
    return "; ".join(apart) if apart else "the methods differ, but no two by the critical difference"
