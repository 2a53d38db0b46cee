"""Masks that are checked while they are decoded: a run warns of the same things as the data report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from discrepancy.data.checks import Issue, mask_copies, mask_problems
from discrepancy.data.image_stats import MaskStats, stats_of_mask
from discrepancy.data.images import ResizeCrop, mask_array
from discrepancy.data.lazy_array import LazyArray
from discrepancy.data.samples import join_first

logger = logging.getLogger(__name__)

_SAID_BEFORE = "lossy mask"  # by the sample table


def checked_mask_array(samples: pd.DataFrame, root: Path, resize_crop: ResizeCrop) -> LazyArray:
    """Return `images.mask_array`; a warning for each kind of doubtful mask is logged after its last piece."""
    stats: dict[Path, MaskStats] = {}

    def look(path: Path, mask: np.ndarray) -> None:
        stats[path] = stats_of_mask(mask, resize_crop)

    array = mask_array(samples, root, resize_crop, seen=look)

    def chunks() -> Iterator[np.ndarray]:
        yield from array.chunks()
        _warn(
            _problems(samples, {name: stats[root / name] for name in samples["mask"].fillna("") if name}, resize_crop)
        )

    return LazyArray(array.shape, array.dtype, chunks)


def _problems(samples: pd.DataFrame, stats: dict[str, MaskStats], resize_crop: ResizeCrop) -> list[Issue]:
    masked = samples[samples["mask"].isin(list(stats))]
    columns = {
        f"mask_{name}": [float(getattr(stats[mask], name)) for mask in masked["mask"]]
        for name in ("width", "height", "coverage", "kept")
    }
    digests = {name: mask.digest for name, mask in stats.items()}
    return [*mask_problems(masked.assign(**columns), resize_crop), *mask_copies(digests)]


def _warn(problems: list[Issue]) -> None:
    kinds: dict[str, list[str]] = {}
    for _, file, problem, detail in problems:
        kinds.setdefault(problem, []).append(f"{file} ({detail})")
    for problem, files in kinds.items():
        if problem != _SAID_BEFORE:
            logger.warning("%s, %d of the masks: %s", problem, len(files), join_first(files))
