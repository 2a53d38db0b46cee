"""Good training images held out for thresholds: a validation split, or folds one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discrepancy.data.parameters import IngestionParameters
from discrepancy.errors import InputError


def split_validation(samples: pd.DataFrame, *, fraction: float = 0.2, minimum: int = 10, seed: int = 0) -> pd.DataFrame:
    """Return a copy of the sample table with some good training images moved to the split `validation`.

    Moved are max(`minimum`, `fraction` of them rounded to the nearest whole number) good training images, but no more
    than half of them. They are drawn with `seed`. The draw depends on the images' paths and bytes only, not on the
    order of the rows, which is kept. Copies of one image (same bytes) stay together, so that no held-out image was
    trained on; with copies a few more may be moved.
    A table that already has a validation split is returned unchanged.

    Raises `InputError` when `fraction` is not in [0, 1), `minimum` is below 1, or no good training image would remain.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"The validation fraction is {fraction}: expected at least 0 and less than 1.")
    if minimum < 1:
        raise InputError(f"The validation minimum is {minimum}: expected at least 1 image.")
    table = samples.copy()
    if (table["split"] == "validation").any():
        return table
    good = (table["split"] == "train") & (table["label"] == 0)
    digests = table[good].sort_values("image")["sha256"]
    wanted = max(1, min(max(minimum, round(fraction * len(digests))), len(digests) // 2))
    drawn = np.random.default_rng(seed).permutation(digests.unique())
    copies = digests.value_counts()[drawn].to_numpy()
    taken = int(np.searchsorted(np.cumsum(copies), wanted)) + 1
    if taken >= len(drawn):
        raise InputError(
            f"There are {len(drawn)} different good training images, {wanted} of them wanted for validation: "
            f"expected at least {wanted + 1} in train/good."
        )
    table.loc[good & table["sha256"].isin(drawn[:taken]), "split"] = "validation"
    return table


def deal_folds(digests: Sequence[str], folds: int, *, seed: int) -> list[NDArray[np.intp]]:
    """Deal images to folds of nearly the same size; copies of one image stay together.

    Args:
        digests: of the images [N], the same for copies.
        folds: number of folds, 2 or more.
        seed: of the draw, which depends on the digests and not on the images' order.

    Returns:
        for each fold its rows, ascending.

    Raises:
        InputError: there are fewer different images than folds, or less than 2 folds.
    """
    different = sorted(set(digests))
    if not 2 <= folds <= len(different):
        raise InputError(
            f"folds is {folds}; expected 2 to {len(different)}, the number of different good training images"
        )
    drawn = np.random.default_rng(seed).permutation(len(different))
    fold_of = {different[image]: place % folds for place, image in enumerate(drawn)}
    found = np.array([fold_of[digest] for digest in digests])
    return [np.flatnonzero(found == fold) for fold in range(folds)]


def held_out_folds(samples: pd.DataFrame, ingestion: IngestionParameters) -> list[NDArray[np.intp]]:
    """Return the rows of the held-out good images: of each fold, or of the validation split as one.

    Raises:
        InputError: there are none, or fewer different images than folds.
    """
    if ingestion.calibration == "holdout":
        rows = np.flatnonzero(samples["split"] == "validation")
        if not len(rows):
            raise InputError(
                "the sample table holds out no image, as one for cross-fitting; expected a validation split: start at "
                "the beginning, without --from-nodes, or with ingestion.calibration=cross"
            )
        return [rows]
    good = samples["sha256"][samples["split"] == "train"]  # the first rows
    return deal_folds(list(good), ingestion.folds, seed=ingestion.seed)


def held_out_names(samples: pd.DataFrame, ingestion: IngestionParameters) -> list[str]:
    """Return the names of the held-out good images, in the order in which they are scored."""
    return list(samples["image"].iloc[np.concatenate(held_out_folds(samples, ingestion))])
