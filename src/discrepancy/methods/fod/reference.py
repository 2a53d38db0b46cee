"""The mean normal image: mean features at each position, with which FOD compares an image (ICCV 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from discrepancy.features.backbones import Backbone
from discrepancy.features.cache import Features
from discrepancy.features.recipe import LazyFeatures
from discrepancy.methods.base import TrainingData
from discrepancy.methods.fod.parameters import FODParameters

READ_AT_ONCE = 16
"""Images whose features are in memory at a time."""


def plan_reference(backbone: Backbone, data: TrainingData, parameters: FODParameters) -> LazyFeatures:
    """Return the mean normal image: at each position the mean of the training images' tokens, not computed yet."""
    del backbone, parameters
    return lazy_mean(data.cached, data.examples)


def lazy_mean(features: Features, count: int) -> LazyFeatures:
    """Return the mean of the first `count` images' features, as a single image's; computed only if the cache lacks it.

    It is summed in float64 and kept in float32.

    Args:
        features: cached features of good images: training images first.
        count: number of training images.
    """
    shapes = {layer: (1, *array.shape[1:]) for layer, array in features.items()}

    def batches() -> Iterator[dict[str, np.ndarray]]:
        yield {layer: _mean(array, count).astype(np.float32)[None] for layer, array in features.items()}

    return LazyFeatures(ingredients=mean_ingredients(features, count), shapes=shapes, dtype="float32", batches=batches)


def mean_ingredients(features: Features, count: int) -> dict[str, str | int]:
    """Return the values that decide the mean: the features, and the number of images."""
    return {"mean_of": features.fingerprint, "first": count}


def _mean(array: np.ndarray, count: int) -> np.ndarray:
    """Return the mean over the first images of a memory-mapped [N, C, h, w], a few at a time: float64 [C, h, w]."""
    total = np.zeros(array.shape[1:])
    for start in range(0, count, READ_AT_ONCE):
        total += array[start : min(start + READ_AT_ONCE, count)].sum(0, dtype=np.float64)
    return total / count
