"""Rates of right and wrong decisions on a test set, and how far so few images leave them uncertain."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_labels, as_numbers, check_same_shape
from discrepancy.metrics.ranks import rank

CONFIDENCE = 0.95


def share_interval(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the range in which the true share lies with some confidence, when `hits` of `count` were counted.

    It is the score interval of Wilson ("Probable Inference, the Law of Succession, and Statistical Inference", JASA
    22, 1927). It has a width even where all or none were hit, unlike the normal approximation.

    Args:
        hits: from 0 to `count`.
        count: number of independent trials, such as images.
        confidence: in (0, 1).

    Returns:
        lower and upper end, each in [0, 1]; both nan where nothing was counted.

    Raises:
        InputError: hits outside 0 to `count`, or a confidence outside (0, 1).

    >>> [round(end, 3) for end in share_interval(18, 20)]
    [0.699, 0.972]
    """
    if not 0 <= hits <= count:
        raise InputError(f"hits is {hits}; a number from 0 to count, {count}, was expected.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; a number in (0, 1) was expected.")
    if count == 0:
        return math.nan, math.nan
    z = float(norm.ppf((1 + confidence) / 2))
    scale = 1 + z**2 / count
    centre = (hits + z**2 / 2) / count / scale
    half_width = z * math.sqrt(hits * (count - hits) / count + z**2 / 4) / count / scale
    # Rounding must not move an end that is exactly 0 or 1.
    low = centre - half_width if hits > 0 else 0.0
    high = centre + half_width if hits < count else 1.0
    return low, high


def rate_metrics(anomalous: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Compute the shares of good and of defective images that were called anomalous, with their 95 % intervals.

    Args:
        anomalous: decision on each image, bool or 0 and 1 `[N]`.
        labels: 0 good or 1 defective `[N]`.

    Returns:
        `false_alarm_rate` (of the good images, lower is better) and `detection_rate` (of the defective images, higher
        is better), and of each the ends of its `share_interval`, named `..._low` and `..._high`. All in [0, 1]; nan
        where there are no such images.

    Raises:
        InputError: no image, different shapes, or a value that is neither 0 nor 1.

    >>> rates = rate_metrics([False, True, True, True], [0, 0, 1, 1])
    >>> rates["false_alarm_rate"], rates["detection_rate"]
    (0.5, 1.0)
    """
    called = as_labels(anomalous, name="anomalous")
    defective = as_labels(labels)
    check_same_shape(called, defective, names=("anomalous", "labels"))
    return _rate("false_alarm_rate", called[~defective]) | _rate("detection_rate", called[defective])


def oracle_detection_at_target(scores: ArrayLike, labels: ArrayLike, target: float) -> float:
    """Return the largest share of defective images that any threshold finds at a target false-alarm rate.

    The threshold is the best of all that at most the target share of the good images exceeds, for the rule "anomalous
    iff score > threshold". It is chosen on the test images themselves. So this is what the ranking alone allows: an
    upper bound for thresholds from held-out images, and no estimate of what is found in use.

    Args:
        scores: image scores `[N]`, higher = more anomalous.
        labels: 0 good or 1 defective `[N]`.
        target: largest share of good images above the threshold, in [0, 1).

    Returns:
        float in [0, 1]; nan where there are no good or no defective images.

    Raises:
        InputError: no image, different shapes, a NaN, a label that is neither 0 nor 1, or a target outside [0, 1).

    >>> oracle_detection_at_target([0.1, 0.2, 0.3, 0.9, 0.8, 0.25], [0, 0, 0, 0, 1, 1], target=0.25)
    0.5
    """
    if not 0 <= target < 1:
        raise InputError(f"target is {target}; a false-alarm rate in [0, 1) was expected.")
    values = as_numbers(scores, name="scores")
    defective = as_labels(labels)
    check_same_shape(values, defective, names=("scores", "labels"))
    ranks, _ = rank(values, defective, name="scores")
    if not (ranks.anomalous and ranks.good):
        return math.nan
    # The threshold just below a defective image's score finds it; all good images of at least that score are alarms.
    return float(ranks.anomalous_at[ranks.fpr <= target].sum() / ranks.anomalous)


def _rate(name: str, called: NDArray[np.bool_]) -> dict[str, float]:
    hits = int(called.sum())
    low, high = share_interval(hits, called.size)
    return {name: hits / called.size if called.size else math.nan, f"{name}_low": low, f"{name}_high": high}
