"""Features that are not computed yet: every ingredient that decides a number, and how to compute them piece by piece.

The fingerprint is a digest of the ingredients, so asking whether features exist neither runs a network nor reads a
pixel. A changed ingredient can never meet features made from another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch

from discrepancy.device_memory import images_at_once, shrinking_batches
from discrepancy.devices import Precision, computing_in
from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.reduction import Reduction
from discrepancy.host_copies import from_device, one_ahead, to_device

# Raised when the same ingredients begin to give other numbers, or the files another form.
FORMAT = 4
DTYPES = ("float32", "float16")
CONTENTS = ("format", "dtype", "shapes", "ingredients")
"""Names of the contents that the fingerprint is taken of."""

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class LazyFeatures:
    """The features of N images at some layers, computed when they are saved: `LazyArray`'s idea, for several layers.

    A step plans them, `FeatureCache.get` finds or computes them, and the next step loads them as `Features`.

    Attributes:
        ingredients: all that decides the numbers, as JSON values; kept in clear beside the features.
        shapes: for each layer (or group of layers) (N, C, h, w); N is the same for all.
        dtype: `float32` or `float16`, in which the features are kept.
        batches: starts the computation; yields, in image order, arrays [B, C, h, w] of `dtype` by layer.
    """

    ingredients: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    dtype: str
    batches: Callable[[], Iterator[dict[str, np.ndarray]]] = field(compare=False, repr=False)

    @property
    def count(self) -> int:
        """The number of images."""
        return next(iter(self.shapes.values()))[0]

    @property
    def nbytes(self) -> int:
        """The size of all features."""
        return sum(prod(shape) for shape in self.shapes.values()) * np.dtype(self.dtype).itemsize

    @property
    def contents(self) -> dict[str, Any]:
        """Contents that the fingerprint is taken of, as JSON values."""
        shapes = {layer: list(shape) for layer, shape in self.shapes.items()}
        return {"format": FORMAT, "dtype": self.dtype, "shapes": shapes, "ingredients": dict(self.ingredients)}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over `contents`, 64 hexadecimal digits."""
        return fingerprint_of(self.contents)

    def pieces(self) -> Iterator[dict[str, np.ndarray]]:
        """Compute all batches in order: for each layer an array [B, C, h, w] of `dtype`, together of `shapes`.

        Raises:
            ValueError: they are not: before the batch that does not fit, or after the last one.
        """
        done = 0
        for batch in self.batches():
            size = len(next(iter(batch.values())))
            for layer, shape in self.shapes.items():
                expected = (size, *shape[1:])
                if batch[layer].shape != expected or batch[layer].dtype != self.dtype or done + size > self.count:
                    found = f"{batch[layer].shape} {batch[layer].dtype} at image {done}"
                    raise ValueError(f"{layer}: expected {shape} {self.dtype}, found {found}")
            yield {layer: batch[layer] for layer in self.shapes}
            done += size
        if done != self.count:
            raise ValueError(f"{', '.join(self.shapes)}: expected {self.count} images, found {done}")


def fingerprint_of(contents: Mapping[str, Any]) -> str:
    """Return the fingerprint of features with these contents (see `LazyFeatures.contents`), 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def lazy_features(  # noqa: PLR0913 (all that decides the numbers comes together here)
    backbone: Backbone,
    images: np.ndarray,
    image_digests: Sequence[str],
    *,
    reduction: Reduction | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
) -> LazyFeatures:
    """Plan a backbone's maps of `images`, or what a reduction keeps of them; nothing is computed yet.

    Batch size and device are no ingredients: they change the numbers by rounding to float32 only. A lower precision is
    one.

    Args:
        backbone: moved to `device` when the computation starts.
        images: uint8 [N, 3, H, W] in RGB, memory-mapped or not; read only when the computation starts.
        image_digests: N digests that stand for the images, in order, such as the sha256 of their files.
        reduction: what is kept of the maps; None keeps them by layer, in full resolution.
        preprocessing: how the arrays were made from what the digests stand for, if it can vary: JSON values, for
            example `{"interpolation": "bilinear"}`.
        dtype: `float32`, or `float16` for half the space.
        batch_size: images of up to 256x256 px per run of the network, of larger ones fewer (`images_at_once`); halved
            where a GPU's memory is too small.
        device: where the network runs.
        precision: of its products on a GPU; `bf16` is `tf32` here.

    Raises:
        InputError: the images are none or too small, or an option has no such value.
        ValueError: the arrays do not fit together.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r} is not known to the feature cache; expected {' or '.join(DTYPES)}")
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} cannot be; expected 1 or more")
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"expected images [N, 3, H, W] of uint8, found {list(images.shape)} {images.dtype}")
    if len(image_digests) != len(images):
        raise ValueError(f"{len(images)} images but {len(image_digests)} digests")
    if not len(images):
        raise InputError("there are no images to take features of; expected at least one")
    height, width = images.shape[2:]
    shapes = {name: (len(images), *shape) for name, shape in kept_shapes(backbone, reduction, height, width).items()}
    ingredients = {
        **backbone.identity,
        "reduction": "none" if reduction is None else dict(reduction.identity),
        "image_size": [height, width],
        "preprocessing": dict(preprocessing or {}),
        "images": list(image_digests),
        **precision_ingredient(precision),
    }

    def batches() -> Iterator[dict[str, np.ndarray]]:
        where = torch.device(device)
        size = images_at_once(batch_size, height, width)
        return _maps(backbone, reduction, images, dtype=dtype, batch_size=size, device=where, precision=precision)

    return LazyFeatures(ingredients=ingredients, shapes=shapes, dtype=dtype, batches=batches)


def kept_shapes(
    backbone: Backbone, reduction: Reduction | None, height: int, width: int
) -> Mapping[str, tuple[int, int, int]]:
    """Return (C, h, w) of what is kept of an image of this size, px, by name."""
    return backbone.map_shapes(height, width) if reduction is None else reduction.shapes


def precision_ingredient(precision: Precision) -> dict[str, str]:
    """Return the ingredient that a precision is; none in the case of `fp32`."""
    return {} if precision == "fp32" else {"precision": "tf32"}


def _maps(
    backbone: Backbone,
    reduction: Reduction | None,
    images: np.ndarray,
    *,
    dtype: str,
    batch_size: int,
    device: torch.device,
    precision: Precision,
) -> Iterator[dict[str, np.ndarray]]:
    backbone.to(device)
    if reduction is not None:
        reduction.to(device)
    names = [layer.name for layer in backbone.layers] if reduction is None else list(reduction.shapes)

    def started(rows: slice) -> Callable[[], list[np.ndarray]]:
        """Give a batch to the device; the call that is returned waits for its maps."""
        with computing_in(precision):
            maps = backbone(to_device(images[rows], device))
            if reduction is not None:
                maps = reduction.reduced(maps)
        kept = [maps[name].to(getattr(torch, dtype), memory_format=torch.channels_last) for name in names]
        return from_device(kept)

    remedies = ["a smaller image_size", "device=cpu"]
    batches = shrinking_batches(len(images), batch_size, started, what="features", remedies=remedies)
    # On a GPU the next batch is computed while the maps of the one before are brought back and written.
    for finish in one_ahead(batches) if device.type == "cuda" else batches:
        yield dict(zip(names, finish(), strict=True))
