"""All metrics of a category in one call, from one sort of its pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_labels, as_maps, as_masks, as_numbers
from discrepancy.metrics.overlap import aupro_of, region_gains
from discrepancy.metrics.ranking import auroc_of, average_precision_of, f1_max_of
from discrepancy.metrics.ranks import Ranks, rank

AUPRO_LIMITS = (0.30, 0.05)


def evaluate(maps: ArrayLike, masks: ArrayLike | None, labels: ArrayLike, image_scores: ArrayLike) -> dict[str, float]:
    """Compute every metric of a category's whole test set, good images included.

    An anomalous image whose mask is empty (a defect too small for the evaluation size) stays anomalous as an image;
    its pixels count as good.

    Memory depends on the anomalous pixels alone, not on the number of images. It is at most 125 bytes for each of them
    (measured, no ties), besides one sorted chunk of `ranks.CHUNK` scores.

    Args:
        maps: raw anomaly maps `[N, H, W]`, higher = more anomalous; may be a `np.memmap`.
        masks: bool `[N, H, W]`, True where a pixel is anomalous; None where there are none.
        labels: 0 good or 1 anomalous, from the folders `[N]`.
        image_scores: higher = more anomalous `[N]`.

    Returns:
        `image_auroc`, `image_ap`, `image_f1max`, `pixel_auroc`, `pixel_ap`, `pixel_f1max`, `aupro_0.30` and
        `aupro_0.05`, each in [0, 1]. What the data do not define is nan: all metrics of a level without anything
        anomalous, or without anything good (where AP and F1 would be 1 whatever the scores).

    Raises:
        InputError: wrong shapes or dtypes, a label that is neither 0 nor 1, a NaN (the message names the map), or a
            good image whose mask marks a pixel.
    """
    anomalous = as_labels(labels)
    scores = as_numbers(image_scores, name="image_scores")
    pixels = as_maps(maps)
    areas = np.broadcast_to(np.False_, pixels.shape) if masks is None else as_masks(masks, maps=pixels)
    for name, shape in (("labels", anomalous.shape), ("image_scores", scores.shape)):
        if shape != pixels.shape[:1]:
            raise InputError(f"{name} has shape {shape}; {pixels.shape[:1]} was expected, one entry per map.")
    return _image_metrics(scores, anomalous) | _pixel_metrics(pixels, areas, anomalous)


def _image_metrics(scores: NDArray, anomalous: NDArray[np.bool_]) -> dict[str, float]:
    ranks, _ = rank(scores, anomalous, name="image_scores")
    return _ranking_metrics(ranks, prefix="image")


def _pixel_metrics(maps: NDArray, masks: NDArray[np.bool_], labels: NDArray[np.bool_]) -> dict[str, float]:
    wrong = np.flatnonzero(masks.any(axis=(1, 2)) & ~labels)
    if wrong.size:
        raise InputError(
            f"masks[{wrong[0]}] marks pixels but labels[{wrong[0]}] is 0 (good); an empty mask was expected."
        )
    ranks, position = rank(maps, masks, name="maps")
    metrics = _ranking_metrics(ranks, prefix="pixel")
    gains = region_gains(ranks, position, masks)
    for limit in AUPRO_LIMITS:
        metrics[f"aupro_{limit:.2f}"] = aupro_of(ranks, gains, fpr_limit=limit) if _defined(ranks) else math.nan
    return metrics


def _ranking_metrics(ranks: Ranks, *, prefix: str) -> dict[str, float]:
    measures = {"auroc": auroc_of, "ap": average_precision_of, "f1max": f1_max_of}
    return {f"{prefix}_{name}": measure(ranks) if _defined(ranks) else math.nan for name, measure in measures.items()}


def _defined(ranks: Ranks) -> bool:
    return bool(ranks.anomalous and ranks.good)
