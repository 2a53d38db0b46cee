"""The validation split: good training images held out for thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
