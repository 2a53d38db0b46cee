"""Ranks of the anomalous scores among the good ones: the one sort from which every metric here follows.

AUROC, AP, F1 and AUPRO change only where the threshold passes the score of an anomalous sample. So two counts suffice
for each distinct anomalous score: the good scores below it, and those equal to it. A sort of the values (no argsort)
and two binary searches give them exactly, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from discrepancy.metrics.checks import check_no_nan

# Values sorted at once: bounds the extra memory (64 MiB of float32), whatever the size of the data set.
CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Ranks:
    """The distinct anomalous scores and their ranks among the good scores.

    Attributes:
        thresholds: the distinct anomalous scores, ascending `[D]`.
        anomalous_at: anomalous samples with exactly this score `[D]`.
        good_below: good samples with a lower score `[D]`.
        good_up_to: good samples with this or a lower score `[D]`.
        good: number of good samples.
    """

    thresholds: NDArray
    anomalous_at: NDArray[np.int64]
    good_below: NDArray[np.int64]
    good_up_to: NDArray[np.int64]
    good: int

    @cached_property
    def anomalous(self) -> int:
        """Number of anomalous samples."""
        return int(self.anomalous_at.sum())

    @cached_property
    def true_positives(self) -> NDArray[np.int64]:
        """Anomalous samples that score at least each threshold `[D]`."""
        return np.cumsum(self.anomalous_at[::-1])[::-1]

    @cached_property
    def false_positives(self) -> NDArray[np.int64]:
        """Good samples that score at least each threshold `[D]`."""
        return self.good - self.good_below

    @cached_property
    def fpr_above(self) -> NDArray[np.float64]:
        """Share of good samples that score more than each threshold `[D]`, in [0, 1]."""
        return (self.good - self.good_up_to) / self.good

    @cached_property
    def fpr(self) -> NDArray[np.float64]:
        """Share of good samples that score at least each threshold `[D]`, in [0, 1]."""
        return self.false_positives / self.good


def rank(scores: NDArray, anomalous: NDArray[np.bool_], *, name: str) -> tuple[Ranks, NDArray[np.intp]]:
    """Rank the anomalous scores among the good ones.

    Args:
        scores: `[n, ...]`, higher = more anomalous. May be a `np.memmap`: it is read in chunks.
        anomalous: of the same shape.
        name: name of the scores in an error message.

    Returns:
        the ranks, and for each anomalous sample, in the order of `scores[anomalous]` `[P]`, the index of its score
        among `thresholds`.

    Raises:
        InputError: a score is NaN; the message names the entry along the first axis.
    """
    thresholds, position, counts = np.unique(scores[anomalous], return_inverse=True, return_counts=True)
    if not thresholds.size:
        check_no_nan(scores, name=name)
    below, up_to = count_all(scores, thresholds, name=name)
    return without_anomalous(thresholds, counts, below, up_to, size=scores.size), position


def count_all(
    scores: NDArray, thresholds: NDArray, *, name: str, rows: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the scores below, and not above, each threshold, good and anomalous ones alike. Sorts chunk by chunk.

    Args:
        scores: `[n, ...]`; may be a `np.memmap`.
        thresholds: distinct values, ascending `[D]`. Without any nothing is read.
        name: name of the scores in an error message.
        rows: the entries along the first axis that count; all unless given.

    Raises:
        InputError: a score that counts is NaN; the message names the entry along the first axis.
    """
    below, up_to = np.zeros(len(thresholds), np.int64), np.zeros(len(thresholds), np.int64)
    count = len(scores) if rows is None else len(rows)
    step = max(1, CHUNK * len(scores) // scores.size)
    for start in range(0, count if thresholds.size else 0, step):
        part = slice(start, start + step)
        # One copy, sorted where it lies: `flatten` makes it, and so does an index array.
        ordered = scores[part].flatten() if rows is None else scores[rows[part]].reshape(-1)
        ordered.sort()
        if ordered.dtype.kind == "f" and np.isnan(ordered[-1]):  # a sort puts NaN last
            check_no_nan(scores, name=name)
        chunk_below, chunk_up_to = _count(ordered, thresholds)
        below += chunk_below
        up_to += chunk_up_to
    return below, up_to


def without_anomalous(
    thresholds: NDArray,
    anomalous_at: NDArray[np.int64],
    below: NDArray[np.int64],
    up_to: NDArray[np.int64],
    *,
    size: int,
) -> Ranks:
    """Return the ranks from counts of good and anomalous samples together.

    Picking the good ones out of the array first would cost more than sorting the few others with them: their ranks are
    known, and taken off here.

    Args:
        thresholds: the distinct anomalous scores, ascending `[D]`.
        anomalous_at: anomalous samples with exactly this score `[D]`.
        below: samples with a lower score `[D]`. Changed in place.
        up_to: samples with this or a lower score `[D]`. Changed in place.
        size: number of samples.
    """
    anomalous_up_to = np.cumsum(anomalous_at)
    below -= anomalous_up_to - anomalous_at
    up_to -= anomalous_up_to
    return Ranks(thresholds, anomalous_at, below, up_to, size - int(anomalous_at.sum()))


def _count(ordered: NDArray, thresholds: NDArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Count the values of `ordered` `[n]` that lie below, and not above, each of the ascending `thresholds` `[D]`."""
    # Both sides ascend, so neighbouring searches walk through the same cache lines.
    below = np.searchsorted(ordered, thresholds, side="left")
    last = len(ordered) - 1
    up_to = below + (ordered[np.minimum(below, last)] == thresholds)
    # A second search only where the next value is equal too: continuous scores seldom need it.
    tied = np.flatnonzero(ordered[np.minimum(below + 1, last)] == thresholds)
    up_to[tied] = np.searchsorted(ordered, thresholds[tied], side="right")
    return below, up_to
