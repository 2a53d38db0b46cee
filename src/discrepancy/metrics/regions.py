"""Outlined regions against marked ones: which defects were found, and what was outlined on good parts.

A region is an 8-connected component, as for the AUPRO (`overlap`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import zip_longest

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_labels, check_same_shape


def region_metrics(
    found: Iterable[NDArray[np.bool_]], masks: Iterable[NDArray[np.bool_]], labels: ArrayLike
) -> dict[str, float]:
    """Compute the share of the marked regions that are found, and how much is outlined on good images.

    A marked region counts as found if at least one found pixel lies in it, whatever its size. So this measure says
    whether an inspector is shown the place; how well the outline fits is the matter of the AUPRO and the IoU.

    Args:
        found: pixels above the threshold, bool `[N, H, W]`; read image by image, so a `np.memmap` or an iterator of
            bool `[H, W]` will do. The size may differ from image to image.
        masks: True where a pixel is marked as defective, in the same form.
        labels: 0 good or 1 defective, from the folders `[N]`.

    Returns:
        `region_recall`, share of the marked regions that are found, in [0, 1], higher is better;
        `false_regions_per_good_image`, mean number of found regions on good images, from 0 on, lower is better;
        `outlined_good_share`, share of good images with any found pixel, in [0, 1], lower is better. nan where there
        is no marked region, or no good image.

    Raises:
        InputError: different numbers of images, an image that is not bool `[H, W]` or differs in shape from its mask,
            a label that is neither 0 nor 1, or a good image whose mask marks a pixel.

    >>> found = np.array([[[True, False, True]], [[False, False, True]]])
    >>> masks = np.array([[[False, False, False]], [[True, False, True]]])
    >>> region_metrics(found, masks, [0, 1])
    {'region_recall': 0.5, 'false_regions_per_good_image': 2.0, 'outlined_good_share': 1.0}
    """
    defective = as_labels(labels)
    marked_regions = found_regions = false_regions = outlined = 0
    for area, mask, is_defective in _images(found, masks, defective):
        if mask.any():
            count, numbers = label_regions(mask)
            marked_regions += count
            found_regions += np.unique(numbers[area & mask]).size
        elif area.any() and not is_defective:
            false_regions += label_regions(area)[0]
            outlined += 1
    good = int((~defective).sum())
    return {
        "region_recall": _quotient(found_regions, marked_regions),
        "false_regions_per_good_image": _quotient(false_regions, good),
        "outlined_good_share": _quotient(outlined, good),
    }


def label_regions(area: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Number the 8-connected regions of an area.

    Args:
        area: bool `[H, W]`.

    Returns:
        how many there are, and the number of each pixel's region `[H, W]`: from 1 on, 0 outside all regions.
    """
    count, numbers = cv2.connectedComponents(np.ascontiguousarray(area).view(np.uint8), connectivity=8)
    return count - 1, np.asarray(numbers, dtype=np.int32)


def _images(
    found: Iterable[NDArray[np.bool_]], masks: Iterable[NDArray[np.bool_]], defective: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_], bool]]:
    """Yield each image's found pixels, its mask and whether it is defective, checked."""
    for index, image in enumerate(zip_longest(found, masks, defective)):
        ended = [name for name, part in zip(("found", "masks", "labels"), image, strict=True) if part is None]
        if ended:
            raise InputError(
                f"{' and '.join(ended)} ended after {index} images; as many of found, masks and labels were expected."
            )
        area, mask, is_defective = image
        for name, pixels in (("found", area), ("masks", mask)):
            if pixels.dtype != np.bool_ or pixels.ndim != 2 or not pixels.size:
                raise InputError(
                    f"{name}[{index}] has dtype {pixels.dtype} and shape {pixels.shape}; bool [H, W] was expected."
                )
        check_same_shape(area, mask, names=(f"found[{index}]", f"masks[{index}]"))
        if mask.any() and not is_defective:
            raise InputError(
                f"masks[{index}] marks pixels but labels[{index}] is 0 (good); an empty mask was expected."
            )
        yield area, mask, bool(is_defective)


def _quotient(total: int, count: int) -> float:
    return total / count if count else math.nan
