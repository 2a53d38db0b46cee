"""Pixel metrics of each kind of defect against the same good images, whose pixels are sorted once for all kinds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_maps, as_masks
from discrepancy.metrics.overlap import aupro_of, check_limit, region_gains
from discrepancy.metrics.ranking import auroc_of
from discrepancy.metrics.ranks import Ranks, count_all, without_anomalous

Group = TypeVar("Group", bound=Hashable)


class PixelMetrics(NamedTuple):
    """Pixel metrics of a group, in [0, 1]; None where nothing is marked, or everything."""

    auroc: float | None
    aupro: float | None


class _Shared(NamedTuple):
    """Counts that all groups have in common.

    Attributes:
        thresholds: the distinct anomalous scores of all groups, ascending `[D]`.
        below: pixels of the shared images with a lower score `[D]`.
        up_to: pixels of the shared images with this or a lower score `[D]`.
        size: pixels of the shared images.
    """

    thresholds: NDArray
    below: NDArray[np.int64]
    up_to: NDArray[np.int64]
    size: int


def pixel_metrics_by_group(
    maps: ArrayLike, masks: ArrayLike, groups: Sequence[Group | None], *, fpr_limit: float = 0.30
) -> dict[Group, PixelMetrics]:
    """Compute pixel AUROC and AUPRO of each group of images, together with the images that all groups share.

    Equal to `auroc` and `aupro` of the maps of the group and the shared ones, but each map is sorted once instead of
    once per group and metric. Besides one chunk of sorted pixels this takes memory for the anomalous pixels only.

    Args:
        maps: anomaly maps `[N, H, W]`, higher = more anomalous; may be a `np.memmap`.
        masks: bool `[N, H, W]`, True where a pixel is anomalous.
        groups: the kind of defect of each image `[N]`, None for the good images, which all groups share.
        fpr_limit: of the AUPRO, in (0, 1].

    Returns:
        the metrics by group, in the order in which the groups first appear.

    Raises:
        InputError: wrong shapes or dtypes, a NaN (the message names the map), a shared image whose mask marks a
            pixel, or a limit outside (0, 1].

    >>> pixel_metrics_by_group([[[0, 1]], [[3, 0]]], [[[False, False]], [[True, False]]], [None, "scratch"])
    {'scratch': PixelMetrics(auroc=1.0, aupro=1.0)}
    """
    check_limit(fpr_limit)
    scores = as_maps(maps)
    anomalous = as_masks(masks, maps=scores)
    if len(groups) != len(scores):
        raise InputError(f"groups has {len(groups)} entries; {len(scores)} were expected, one per map.")
    shared = _rows(groups, None)
    wrong = np.intersect1d(shared, np.flatnonzero(anomalous.any(axis=(1, 2))))
    if wrong.size:
        raise InputError(f"masks[{wrong[0]}] marks pixels of a good image; an empty mask was expected.")

    thresholds = np.unique(scores[anomalous])
    below, up_to = count_all(scores, thresholds, name="maps", rows=shared)
    common = _Shared(thresholds, below, up_to, len(shared) * scores[0].size)
    metrics = {}
    for group in dict.fromkeys(group for group in groups if group is not None):
        metrics[group] = _metrics(scores, anomalous, _rows(groups, group), common, fpr_limit=fpr_limit)
    return metrics


def _rows(groups: Sequence[Group | None], group: Group | None) -> NDArray[np.intp]:
    return np.flatnonzero([other == group for other in groups])


def _metrics(
    scores: NDArray, anomalous: NDArray[np.bool_], rows: NDArray[np.intp], common: _Shared, *, fpr_limit: float
) -> PixelMetrics:
    ranks, position = _rank(scores, anomalous, rows, common)
    if not (ranks.anomalous and ranks.good):
        return PixelMetrics(None, None)
    gains = region_gains(ranks, position, anomalous, rows)
    return PixelMetrics(auroc_of(ranks), aupro_of(ranks, gains, fpr_limit=fpr_limit))


def _rank(
    scores: NDArray, anomalous: NDArray[np.bool_], rows: NDArray[np.intp], common: _Shared
) -> tuple[Ranks, NDArray[np.intp]]:
    """Return `rank` of the images `rows` and the shared ones, whose pixels are counted already."""
    inside = np.concatenate([scores[row][anomalous[row]] for row in rows])
    thresholds, position, counts = np.unique(inside, return_inverse=True, return_counts=True)
    below, up_to = count_all(scores, thresholds, name="maps", rows=rows)
    place = np.searchsorted(common.thresholds, thresholds)
    below += common.below[place]
    up_to += common.up_to[place]
    size = common.size + len(rows) * scores[0].size
    return without_anomalous(thresholds, counts, below, up_to, size=size), position
