"""Ranking of anomalous samples above good ones: AUROC, average precision and F1.

A sample is an image (one score, one label per image) or a pixel of anomaly maps and masks `[N, H, W]`. These are taken
as a whole: every pixel of every image counts alike. All values are exact over all thresholds; ties are not broken by
the order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_labels, as_numbers, check_same_shape
from discrepancy.metrics.ranks import Ranks, rank


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the area under the ROC curve, exactly.

    It is the chance that an anomalous sample scores above a good one, ties counting half.

    Args:
        scores: `[n, ...]`, any finite or infinite numbers, higher = more anomalous.
        labels: 0 good or 1 anomalous, bool or number, of the same shape.

    Returns:
        float in [0, 1]; 0.5 is chance, 1 is perfect.

    Raises:
        InputError: shapes differ, a score is NaN, a label is neither 0 nor 1, or only one class is present. (A NaN
            returned instead, as scikit-learn does, is easily averaged away; `evaluate` does return it.)

    Source: Mann and Whitney (1947); Hanley and McNeil (1982).

    >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    return auroc_of(_rank(scores, labels, need_good=True))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the area under the precision-recall curve as a step function: sum of precision times gain in recall.

    Args:
        scores: `[n, ...]`, higher = more anomalous.
        labels: 0 good or 1 anomalous, of the same shape.

    Returns:
        float in (0, 1]; chance is the share of anomalous samples, so 1 without any good sample.

    Raises:
        InputError: as for `auroc`, except that no good sample is needed.

    >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
    0.8333
    """
    return average_precision_of(_rank(scores, labels))


def f1_max(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the best F1 (harmonic mean of precision and recall) over all thresholds.

    The threshold is chosen on the labels, so the value is optimistic.

    Args:
        scores: `[n, ...]`, higher = more anomalous.
        labels: 0 good or 1 anomalous, of the same shape.

    Returns:
        float in (0, 1].

    Raises:
        InputError: as for `average_precision`.
    """
    return f1_max_of(_rank(scores, labels))


def f1_max_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the threshold at which `f1_max` is reached with the rule "anomalous iff score > threshold".

    It is the number just below the lowest score that still counts as anomalous; of several thresholds with the same
    F1 it is the highest, which marks the least. Being chosen on test labels it is an oracle, never to be used for
    decisions: see `threshold_at_fpr`.

    Args:
        scores: `[n, ...]`, higher = more anomalous.
        labels: 0 good or 1 anomalous, of the same shape.

    Raises:
        InputError: as for `average_precision`.
    """
    ranks = _rank(scores, labels)
    f1 = _f1(ranks)
    best = np.flatnonzero(f1 == f1.max())[-1]
    return float(np.nextafter(ranks.thresholds[best], -np.inf))


def roc_curve(scores: ArrayLike, labels: ArrayLike, *, points: int = 2000) -> tuple[NDArray, NDArray]:
    """Compute the ROC curve from (0, 0) to (1, 1), for a figure.

    Args:
        scores: `[n, ...]`, higher = more anomalous.
        labels: 0 good or 1 anomalous, of the same shape.
        points: most corners that are kept. A curve of more is thinned evenly along its length; no point of the whole
            curve is then further than 2 / (points - 1) from the thinned one.

    Returns:
        false-positive rates and true-positive rates, ascending, float64 `[k]` each, k <= points.

    Raises:
        InputError: as for `auroc`, or fewer than 2 points.
    """
    ranks = _rank(scores, labels, need_good=True)
    return thin(*corners(ranks, ranks.anomalous_at / ranks.anomalous), points=points)


def auroc_of(ranks: Ranks) -> float:
    """Return the AUROC from ranks that hold both classes."""
    # Whole numbers until the one division. A sum of 64 bits would overflow from some billions of samples on, so the two
    # halves of each product are summed apart.
    products = ranks.anomalous_at * (ranks.good_below + ranks.good_up_to)
    wins = (int((products >> 32).sum()) << 32) + int((products & 0xFFFFFFFF).sum())
    return wins / (2 * ranks.good * ranks.anomalous)


def average_precision_of(ranks: Ranks) -> float:
    """Return the average precision from ranks that hold an anomalous sample."""
    precision = ranks.true_positives / (ranks.true_positives + ranks.false_positives)
    return float((ranks.anomalous_at * precision).sum()) / ranks.anomalous


def f1_max_of(ranks: Ranks) -> float:
    """Return the F1-max from ranks that hold an anomalous sample."""
    return float(_f1(ranks).max())


def _f1(ranks: Ranks) -> NDArray[np.float64]:
    """Return F1 when everything that scores at least each threshold counts as anomalous `[D]`."""
    # F1 = 2 TP / (predicted + actual). Between two anomalous scores only false positives come: never a maximum.
    return 2 * ranks.true_positives / (ranks.true_positives + ranks.false_positives + ranks.anomalous)


def corners(ranks: Ranks, gains: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the curve's corners: it rises by `gains` `[D]` (summing to 1) per threshold, over the false-positive rate.

    Good samples that tie with anomalous ones make a sloped piece, as everywhere in the literature: the order inside
    a tie is unknown, so both counts grow together.

    Returns:
        false-positive rates and heights, ascending, `[2 D + 2]` each, from (0, 0) to (1, 1).
    """
    heights = np.cumsum(gains[::-1])
    x = np.stack([ranks.fpr_above[::-1], ranks.fpr[::-1]], axis=1).ravel()
    y = np.stack([np.concatenate([[0.0], heights[:-1]]), heights], axis=1).ravel()
    return np.concatenate([[0.0], x, [1.0]]), np.minimum(np.concatenate([[0.0], y, [1.0]]), 1.0)


def thin(
    x: NDArray[np.float64], y: NDArray[np.float64], *, points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep at most `points` corners of an ascending curve `[n]`, evenly along its length (|dx| + |dy|), both ends too.

    Raises:
        InputError: fewer than 2 points.
    """
    if points < 2:
        raise InputError(f"points is {points}; at least 2 were expected (the ends of the curve).")
    if len(x) <= points:
        return x, y
    length = (x - x[0]) + (y - y[0])
    keep = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], points)))
    keep[-1] = len(x) - 1
    return x[keep], y[keep]


def need_classes(ranks: Ranks, *, name: str, need_good: bool) -> None:
    """Raise an `InputError` unless the classes that a metric needs are there."""
    if ranks.anomalous == 0:
        raise InputError(f"{name} holds nothing anomalous; at least one anomalous sample was expected.")
    if need_good and ranks.good == 0:
        raise InputError(f"{name} holds nothing good; at least one good sample was expected.")


def _rank(scores: ArrayLike, labels: ArrayLike, *, need_good: bool = False) -> Ranks:
    values = as_numbers(scores, name="scores")
    anomalous = as_labels(labels)
    check_same_shape(values, anomalous, names=("scores", "labels"))
    ranks, _ = rank(values, anomalous, name="scores")
    need_classes(ranks, name="labels", need_good=need_good)
    return ranks
