"""Nodes of the ingestion pipeline: from photographs to a sample table with splits, an image array and a mask array."""

from __future__ import annotations

import logging

import pandas as pd

from discrepancy.data.checked_masks import checked_mask_array
from discrepancy.data.depth import category_depth
from discrepancy.data.images import image_array
from discrepancy.data.lazy_array import LazyArray
from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import Photographs
from discrepancy.data.samples import check_photographs
from discrepancy.data.splits import deal_folds, split_validation

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


def split_samples(photographs: Photographs, parameters: IngestionParameters) -> pd.DataFrame:
    """Return the sample table with some good training images held out, ordered train, validation, test.

    The order makes every split a contiguous piece of the image array, so that no step copies it. The column `bit_depth`
    says how many of 16 bits all photographs use, 0 if none has 16: what is white is decided once for all of them.
    """
    if parameters.calibration == "cross":  # the folds of the training images are held out, one after the other
        table = photographs.samples.assign(split=photographs.samples["split"].replace("validation", "train"))
        deal_folds(
            list(table["sha256"][table["split"] == "train"]), parameters.folds, seed=parameters.seed
        )  # or refuse
    else:
        table = split_validation(
            photographs.samples,
            fraction=parameters.validation_fraction,
            minimum=parameters.validation_minimum,
            seed=parameters.seed,
        )
    order = table["split"].map(SPLITS.index)
    table = table.assign(_order=order).sort_values(["_order", "image"], kind="stable").drop(columns="_order")
    counts = ", ".join(f"{count} {split}" for split in SPLITS if (count := int((table["split"] == split).sum())))
    height, width = parameters.size
    logger.info("%s: %s images at %dx%d px", parameters.category, counts, height, width)
    depth = parameters.bit_depth or _bits(photographs, table)
    return table.assign(bit_depth=depth).reset_index(drop=True)


def decode_images(photographs: Photographs, samples: pd.DataFrame, parameters: IngestionParameters) -> LazyArray:
    """Return the lazy image array, uint8 [N, 3, H, W], rows as in the sample table."""
    check_photographs(samples, photographs.samples)
    bits = parameters.preprocessing_of(samples).get("bit_depth", 16)
    return image_array(samples, photographs.root, parameters.resize_crop, bits=bits)


def decode_masks(photographs: Photographs, samples: pd.DataFrame, parameters: IngestionParameters) -> LazyArray:
    """Return the lazy array of masks, bool [N_test, H, W], rows as in the sample table's test split."""
    check_photographs(samples, photographs.samples)
    return checked_mask_array(samples[samples["split"] == "test"], photographs.root, parameters.resize_crop)


def _bits(photographs: Photographs, samples: pd.DataFrame) -> int:
    """Return how many of 16 bits the photographs use as declared, 0 if none has 16; warn if values use fewer."""
    paths = pd.Series([photographs.root / name for name in samples["image"]], samples.index)
    tested = samples["split"] == "test"
    depth = category_depth(list(paths[~tested]), list(paths[tested]))
    if depth.doubt:
        logger.warning(depth.doubt)
    elif depth.bits < 16:
        logger.info("of 16 bits the photographs use %d, as they say of themselves", depth.bits)
    return depth.bits if depth.images else 0
