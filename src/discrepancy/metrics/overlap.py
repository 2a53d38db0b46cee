"""Overlap of thresholded anomaly maps with the defects: AUPRO and IoU, exact over all thresholds.

A region is an 8-connected component of a mask: the component itself, never its hole-filled hull. Bergmann et al. ("The
MVTec Anomaly Detection Dataset", IJCV 2021) define the per-region overlap on components. Maps are taken raw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_maps, as_masks, check_no_nan
from discrepancy.metrics.ranking import corners, need_classes, thin
from discrepancy.metrics.ranks import Ranks, rank
from discrepancy.metrics.tempfiles import spill_to_disk

EIGHT_CONNECTED = np.ones((3, 3), dtype=int)
# Pieces into which the search for the best IoU cuts an interval of thresholds that may still hold the best one.
PIECES = 32
# Sorted maps up to this size are kept in memory, 256 MiB.
MOST_IN_MEMORY = 1 << 28


def aupro(maps: ArrayLike, masks: ArrayLike, *, fpr_limit: float = 0.30) -> float:
    """Compute the area under the per-region overlap curve up to a false-positive rate, divided by that rate.

    Per threshold, the overlap is the share of a region's pixels that score at least the threshold. It is averaged over
    all regions of the data set: small ones count as much as large ones. The false-positive rate is taken over all
    pixels outside the masks, good images included. The curve is linear inside ties and interpolated at the limit.

    Args:
        maps: anomaly maps `[N, H, W]`, higher = more anomalous; may be a `np.memmap`.
        masks: bool `[N, H, W]`, True where a pixel is anomalous.
        fpr_limit: in (0, 1]; results are named with it (`aupro_0.30`).

    Returns:
        float in [0, 1].

    Raises:
        InputError: wrong shapes or dtypes, a NaN (the message names the map), no anomalous pixel, no good pixel, or a
            limit outside (0, 1].
    """
    check_limit(fpr_limit)
    ranks, gains = _rank_regions(maps, masks)
    return aupro_of(ranks, gains, fpr_limit=fpr_limit)


def pro_curve(
    maps: ArrayLike, masks: ArrayLike, *, fpr_limit: float = 0.30, points: int = 2000
) -> tuple[NDArray, NDArray]:
    """Compute the per-region overlap over the false-positive rate, from (0, 0) up to the limit, for a figure.

    Args:
        maps: `[N, H, W]`, higher = more anomalous.
        masks: bool `[N, H, W]`.
        fpr_limit: in (0, 1]; the last point lies exactly there, interpolated.
        points: most corners that are kept, as in `roc_curve`; lengths along the rate count in units of the limit.

    Returns:
        false-positive rates and mean overlaps, ascending, float64 `[k]` each, k <= points. With all corners kept, the
        area under the curve divided by the limit is the AUPRO.

    Raises:
        InputError: as for `aupro`, or fewer than 2 points.
    """
    check_limit(fpr_limit)
    x, y = corners(*_rank_regions(maps, masks))
    inside = np.searchsorted(x, fpr_limit, side="right")
    at_limit = np.interp(fpr_limit, x[inside - 1 : inside + 1], y[inside - 1 : inside + 1])
    x, y = thin(np.append(x[:inside] / fpr_limit, 1.0), np.append(y[:inside], at_limit), points=points)
    return x * fpr_limit, y


def best_iou(maps: ArrayLike, masks: ArrayLike) -> float:
    """Compute the best mean IoU: the mean over anomalous images of |found and marked| / |found or marked|.

    One threshold, the best, serves all images; images without any marked pixel take no part. Papers that call this
    measure IoU take a grid of thresholds; here it is over all of them.

    Intervals of thresholds are cut into pieces as long as they may hold a better value. Inside one, no image can find
    more than at its lower end, nor raise fewer false alarms than at its upper end. The maps of the anomalous images
    are kept sorted: in memory up to `MOST_IN_MEMORY` bytes, beyond that in a temporary file.

    Args:
        maps: `[N, H, W]`, higher = more anomalous.
        masks: bool `[N, H, W]`.

    Returns:
        float in (0, 1].

    Raises:
        InputError: wrong shapes or dtypes, a NaN (the message names the map), no anomalous pixel, or no room for the
            temporary file.
    """
    scores = as_maps(maps)
    anomalous = as_masks(masks, maps=scores)
    marked = np.flatnonzero(anomalous.any(axis=(1, 2)))
    if marked.size == 0:
        raise InputError("masks holds nothing anomalous; at least one anomalous pixel was expected.")
    check_no_nan(scores, name="maps")
    classes = (scores[i][area] for i in marked for area in (anomalous[i], ~anomalous[i]))
    kept = spill_to_disk(map(np.sort, classes), nbytes=len(marked) * scores[0].nbytes, most=MOST_IN_MEMORY)
    images = list(zip(kept[::2], kept[1::2], strict=True))
    # The IoU of an image rises only where the threshold takes in one of its marked pixels.
    candidates = np.unique(np.concatenate([inside for inside, _ in images]))

    best = 0.0
    low, high = np.array([0]), np.array([len(candidates) - 1])
    while low.size:
        values, bounds = _mean_iou(images, candidates, low, high)
        best = max(best, float(values.max()))
        # Rounding is monotone, so a bound is never below a value that lies inside, not by a single bit.
        promising = (bounds > best) & (high - low > 1)
        cuts = low[promising, None] + np.arange(PIECES + 1) * (high - low)[promising, None] // PIECES
        low, high = cuts[:, :-1].ravel(), cuts[:, 1:].ravel()
        low, high = low[high > low], high[high > low]
    return best / len(images)


def _mean_iou(
    images: list[tuple[NDArray, NDArray]], candidates: NDArray, low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the images' IoU at the ends of the intervals, and bound it inside each interval.

    Args:
        images: per image its marked scores and its other scores, both ascending.
        candidates: thresholds, ascending `[D]`; a pixel is found if it scores at least the threshold.
        low: index of each interval's lower end `[K]`.
        high: index of each interval's upper end `[K]`.

    Returns:
        the sum at each distinct end `[E]`, the bound of each interval `[K]`.
    """
    ends, where = np.unique(np.concatenate([low, high]), return_inverse=True)
    at_low, at_high = where[: len(low)], where[len(low) :]
    values, bounds = np.zeros(len(ends)), np.zeros(len(low))
    for inside, outside in images:
        found = len(inside) - np.searchsorted(inside, candidates[ends])
        union = len(inside) + len(outside) - np.searchsorted(outside, candidates[ends])
        values += found / union
        bounds += found[at_low] / union[at_high]
    return values, bounds


def region_weights(masks: NDArray[np.bool_], rows: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
    """Return the weight of each anomalous pixel in the mean per-region overlap: 1 / (region size * number of regions).

    Args:
        masks: `[N, H, W]`.
        rows: the images that count; all unless given.

    Returns:
        weights in the order of the images and their marked pixels, summing to 1 `[P]`.
    """
    weights = [np.empty(0)]
    regions = 0
    for index in range(len(masks)) if rows is None else rows:
        lines = np.flatnonzero(masks[index].any(axis=1))
        if not lines.size:
            continue
        columns = np.flatnonzero(masks[index].any(axis=0))
        # A defect is small: labelling its bounding box saves most of the pixels, and keeps their order.
        box = masks[index, lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        labels, count = ndimage.label(box, structure=EIGHT_CONNECTED)
        region = labels[box]
        weights.append(1.0 / np.bincount(region)[region])
        regions += count
    return np.concatenate(weights) / max(regions, 1)


def region_gains(
    ranks: Ranks, position: NDArray[np.intp], masks: NDArray[np.bool_], rows: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """Return the gain in mean per-region overlap at each threshold `[D]`, from the positions `[P]` that `rank` gives.

    `masks` and `rows` are those of `region_weights`.
    """
    gains = np.bincount(position, weights=region_weights(masks, rows), minlength=len(ranks.thresholds))
    return gains.astype(np.float64, copy=False)


def aupro_of(ranks: Ranks, gains: NDArray[np.float64], *, fpr_limit: float) -> float:
    """Return the AUPRO from ranks that hold both classes and the gains `[D]` in overlap."""
    # Each threshold adds its gain from its false-positive rate on: an area of gain * (limit - rate). Where good pixels
    # tie, the gain comes linearly between the rate above and the rate at the threshold, cut at the limit.
    start = np.minimum(ranks.fpr_above, fpr_limit)
    end = np.minimum(ranks.fpr, fpr_limit)
    slope = ranks.fpr - ranks.fpr_above
    reached = np.divide(end - start, slope, out=np.ones_like(slope), where=slope > 0)
    areas = gains * (reached * (end - start) / 2 + (fpr_limit - end))
    return float(areas.sum()) / fpr_limit


def _rank_regions(maps: ArrayLike, masks: ArrayLike) -> tuple[Ranks, NDArray[np.float64]]:
    scores = as_maps(maps)
    anomalous = as_masks(masks, maps=scores)
    ranks, position = rank(scores, anomalous, name="maps")
    need_classes(ranks, name="masks", need_good=True)
    return ranks, region_gains(ranks, position, anomalous)


def check_limit(fpr_limit: float) -> None:
    if not 0 < fpr_limit <= 1:
        raise InputError(f"fpr_limit is {fpr_limit}; a false-positive rate in (0, 1] was expected.")
