"""Features made from cached ones: some of the layers, or what a reduction keeps of them. No network runs again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch

from discrepancy.device_memory import images_at_once
from discrepancy.features.cache import FeatureCache
from discrepancy.features.entry import FeatureRows, Features
from discrepancy.features.recipe import LazyFeatures, fingerprint_of
from discrepancy.features.reduction import Reduction

READ_AT_ONCE = 16
"""Images of 256x256 px whose features are in memory at a time; of larger ones fewer."""


class FeatureLayers(Features):
    """The features of some layers of an entry; nothing is copied.

    Attributes:
        whole: the entry.
    """

    def __init__(self, whole: Features, layers: Sequence[str]) -> None:
        kept = [layer for layer in whole if layer in layers]
        super().__init__(whole.path, whole.card, {layer: whole[layer] for layer in kept})
        self.whole = whole
        self.fingerprint = fingerprint_of({"features": whole.fingerprint, "layers": kept})

    def tensors(
        self, rows: Sequence[int] | np.ndarray, layers: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the features of some images, as those of the whole entry are returned; other layers are not read."""
        return self.whole.tensors(rows, tuple(self) if layers is None else layers)


def with_layers(features: Features, layers: Sequence[str]) -> Features:
    """Return the features of some layers, in the order of the network."""
    return features if set(layers) == set(features) else FeatureLayers(features, layers)


def reduced(features: Features, reduction: Reduction, device: torch.device) -> Features:
    """Return what a reduction keeps of cached maps, from the cache in which they lie, or else computed into it.

    Args:
        features: maps by layer, not reduced.
        reduction: what is kept.
        device: where to compute.
    """
    if isinstance(features, FeatureRows):  # computed once for all selections of images
        return reduced(features.whole, reduction, device).rows(features.order)
    return FeatureCache(features.path.parent).get(lazy_reduction(features, reduction, device))


def lazy_reduction(features: Features, reduction: Reduction, device: torch.device) -> LazyFeatures:
    """Plan what a reduction keeps of cached maps; arguments as of `reduced`."""
    dtype = str(next(iter(features.values())).dtype)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        reduction.to(device)
        size = images_at_once(READ_AT_ONCE, *features.card["ingredients"]["image_size"])
        for maps in features.batches(range(features.count), device, size=size):
            kept = reduction.reduced({layer: values.float() for layer, values in maps.items()})
            yield {name: values.to(getattr(torch, dtype)).cpu().numpy() for name, values in kept.items()}

    return LazyFeatures(
        ingredients={"reduction_of": features.fingerprint, "reduction": dict(reduction.identity)},
        shapes={name: (features.count, *shape) for name, shape in reduction.shapes.items()},
        dtype=dtype,
        batches=batches,
    )
