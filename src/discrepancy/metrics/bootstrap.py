"""The band in which a ROC curve would lie for other test images of the same kind, from bootstrap samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_labels, as_numbers, check_no_nan, check_same_shape

CONFIDENCE = 0.95
DRAWS = 1000


def roc_band(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    points: int = 500,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute a pointwise band around the ROC curve, by a stratified bootstrap of the images.

    Good and defective images are drawn with replacement, each as many as there are. At a false-positive rate, the band
    spans the middle share of the draws' true-positive rates (Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, section 13.3). It is pointwise: a whole curve stays inside less often than a point of it.

    A bootstrap knows nothing beyond the images it draws from. Where all defective images are found, the band has no
    width, however few they are: the interval of a single rate (`rates.share_interval`) is then the honest one.

    Args:
        scores: image scores `[N]`, higher = more anomalous.
        labels: 0 good or 1 defective `[N]`.
        draws: number of bootstrap samples; memory is about 16 bytes per draw and image.
        confidence: share of the draws inside the band, in (0, 1).
        points: most false-positive rates; all that so many good images can have, if not more.
        seed: of the draws; the same seed gives the same band.

    Returns:
        false-positive rates, ascending from 0 to 1, and lower and upper ends of the true-positive rate, in [0, 1],
        `[k]` each, k <= points. Between two rates the ends stay as they are at the lower one.

    Raises:
        InputError: no good or no defective image, different shapes, a NaN, a label that is neither 0 nor 1, no draw,
            fewer than 2 points, or a confidence outside (0, 1).
    """
    values = as_numbers(scores, name="scores").astype(np.float64)  # whole numbers may have no negative
    defective = as_labels(labels)
    check_same_shape(values, defective, names=("scores", "labels"))
    check_no_nan(values, name="scores")
    for name, number, least in (("draws", draws, 1), ("points", points, 2)):
        if number < least:
            raise InputError(f"{name} is {number}; at least {least} was expected.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; a number in (0, 1) was expected.")
    if defective.all() or not defective.any():
        raise InputError(f"labels holds {'no good' if defective.all() else 'no defective'} image; both were expected.")

    good, bad = np.sort(values[~defective])[::-1], np.sort(values[defective])[::-1]
    allowed = np.unique(np.linspace(0, len(good), min(points, len(good) + 1)).astype(np.int64))
    rng = np.random.default_rng(seed)
    good_copies, bad_copies = (
        rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=draws) for part in (good, bad)
    )
    rates = detection_rates(good, bad, good_copies, bad_copies, allowed)
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return allowed / len(good), low, high


def detection_rates(
    good: NDArray,
    bad: NDArray,
    good_copies: NDArray[np.int64],
    bad_copies: NDArray[np.int64],
    allowed: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Compute the true-positive rates of samples in which each image occurs some number of times.

    Args:
        good: scores of the good images, descending `[n]`.
        bad: scores of the defective images, descending `[m]`.
        good_copies: how often each good image occurs in each draw; every row sums to n `[D, n]`.
        bad_copies: the same for the defective images; every row sums to m `[D, m]`.
        allowed: numbers of good images that may lie above the threshold, 0 to n `[k]`.

    Returns:
        share of the draw's defective images above the lowest such threshold, in [0, 1] `[D, k]`.
    """
    draws, count = good_copies.shape
    # The threshold is the first good score at which more than the allowed number has come. Rows are put one behind the
    # other, each above the one before it, so that a single search serves all of them.
    rows = (count + 1) * np.arange(draws)[:, None]
    come = (np.cumsum(good_copies, axis=1) + rows).ravel()
    place = np.searchsorted(come, allowed + rows, side="right") - count * np.arange(draws)[:, None]
    found = np.zeros((draws, len(bad) + 1), dtype=np.int64)
    np.cumsum(bad_copies, axis=1, out=found[:, 1:])
    above = np.append(np.searchsorted(-bad, -good, side="left"), len(bad))  # defective images above each good score
    return np.take_along_axis(found, above[place], axis=1) / len(bad)
