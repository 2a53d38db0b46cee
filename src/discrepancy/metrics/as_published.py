"""AUPRO as papers' programs compute it: an approximation, to stand beside the numbers published with them.

It depends on the scale of the scores and may exceed 1. `overlap.aupro` is the exact metric.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_maps, as_masks, check_no_nan
from discrepancy.metrics.overlap import EIGHT_CONNECTED, check_limit
from discrepancy.metrics.ranks import count_all

STEPS = 5000


def aupro_as_published(maps: ArrayLike, masks: ArrayLike, *, fpr_limit: float = 0.30, steps: int = STEPS) -> float:
    """Approximate the AUPRO by equally spaced thresholds, as the papers' programs do.

    It differs from `aupro` in three points, all kept:

    - Thresholds are max - k (max - min) / steps of all scores, k = 0 .. steps - 1; a pixel is found if it scores more.
    - The overlap counts found pixels in a region with its holes filled, over the area without the holes.
    - The curve ends at the last false-positive rate up to the limit, and all rates are scaled to 0..1.

    Args:
        maps: anomaly maps `[N, H, W]`, higher = more anomalous; may be a `np.memmap`.
        masks: bool `[N, H, W]`, True where a pixel is anomalous.
        fpr_limit: in (0, 1].
        steps: number of thresholds.

    Returns:
        float from 0 on, more than 1 only if regions have holes; nan if no two rates up to the limit differ, or a score
        is infinite.

    Raises:
        InputError: wrong shapes or dtypes, a NaN (the message names the map), no anomalous pixel, no good pixel, a
            limit outside (0, 1], or no step.
    """
    check_limit(fpr_limit)
    if steps < 1:
        raise InputError(f"steps is {steps}; at least 1 was expected.")
    scores = as_maps(maps)
    anomalous = as_masks(masks, maps=scores)
    inside = scores[anomalous]
    good = scores.size - inside.size
    if not (inside.size and good):
        raise InputError(f"masks holds nothing {'good' if inside.size else 'anomalous'}; both kinds were expected.")

    low, high = float(scores.min()), float(scores.max())
    if not math.isfinite(high - low):
        check_no_nan(scores, name="maps")
        return math.nan
    spaced = high - np.arange(steps) * ((high - low) / steps)
    if scores.dtype.kind == "f":
        spaced = spaced.astype(scores.dtype)
    thresholds, place = np.unique(spaced, return_inverse=True)
    _, up_to = count_all(scores, thresholds, name="maps")
    rates = (scores.size - up_to - _above(inside, thresholds))[place] / good
    values, weights = _filled_regions(scores, anomalous)
    overlaps = _above(values, thresholds, weights)[place]
    kept = rates <= fpr_limit
    return _rescaled_area(rates[kept], overlaps[kept])


def _filled_regions(scores: NDArray, masks: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.float64]]:
    """Return the scores `[P]` in all regions, holes included, and their weights `[P]` in the mean overlap."""
    values: list[NDArray] = []
    weights: list[NDArray] = []
    for image in np.flatnonzero(masks.any(axis=(1, 2))):
        labels, _ = ndimage.label(masks[image], structure=EIGHT_CONNECTED)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            region = labels[box] == number
            filled = ndimage.binary_fill_holes(region, structure=EIGHT_CONNECTED)  # as scikit-image fills regions
            values.append(scores[image][box][filled])
            weights.append(np.full(values[-1].size, 1 / np.count_nonzero(region)))
    return np.concatenate(values), np.concatenate(weights) / len(values)


def _above(values: NDArray, thresholds: NDArray, weights: NDArray[np.float64] | None = None) -> NDArray:
    """Return the number, or the summed weights, of the values above each of the ascending thresholds `[D]`."""
    passed = np.searchsorted(thresholds, values, side="left")
    gains = np.bincount(passed, weights, minlength=len(thresholds) + 1)
    return gains[::-1].cumsum()[::-1][1:]


def _rescaled_area(rates: NDArray[np.float64], overlaps: NDArray[np.float64]) -> float:
    """Return the area under a curve of ascending rates, scaled to 0..1; nan if they are all the same."""
    width = rates[-1] - rates[0]
    return float(np.trapezoid(overlaps, rates) / width) if width else math.nan
