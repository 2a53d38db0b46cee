"""Masks that are looked at while they are decoded: what `inspect` would warn of, a run warns of as well."""

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
    """`images.mask_array`, which logs a warning for each kind of doubtful masks once its last piece is made."""
    facts: dict[Path, MaskStats] = {}

    def look(path: Path, mask: np.ndarray) -> None:
        facts[path] = stats_of_mask(mask, resize_crop)

    array = mask_array(samples, root, resize_crop, seen=look)

    def chunks() -> Iterator[np.ndarray]:
        yield from array.chunks()
        _warn(
            _problems(samples, {name: facts[root / name] for name in samples["mask"].fillna("") if name}, resize_crop)
        )

    return LazyArray(array.shape, array.dtype, chunks)


def _problems(samples: pd.DataFrame, facts: dict[str, MaskStats], resize_crop: ResizeCrop) -> list[Issue]:
    masked = samples[samples["mask"].isin(list(facts))]
    columns = {
        f"mask_{name}": [float(getattr(facts[mask], name)) for mask in masked["mask"]]
        for name in ("width", "height", "coverage", "kept")
    }
    digests = {name: mask.digest for name, mask in facts.items()}
    return [*mask_problems(masked.assign(**columns), resize_crop), *mask_copies(digests)]


def _warn(problems: list[Issue]) -> None:
    kinds: dict[str, list[str]] = {}
    for _, file, problem, detail in problems:
        kinds.setdefault(problem, []).append(f"{file} ({detail})")
    for problem, files in kinds.items():
        if problem != _SAID_BEFORE:
            logger.warning("%s, %d of the masks: %s", problem, len(files), join_first(files))
