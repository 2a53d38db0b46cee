"""Photographs of one's own: MVTec AD's folders, or just `good` and folders of defects; masks if there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from discrepancy.errors import InputError
from discrepancy.inspection.layouts.files import folders, images, suffixes
from discrepancy.inspection.layouts.masks import Wanted, find_masks
from discrepancy.inspection.layouts.mvtec import PHOTOGRAPHS, scan_mvtec
from discrepancy.inspection.samples import Found, Scan

TEST_SHARE: Final = 0.2
SEED: Final = 0
_GOOD: Final = "good"
_TRUTH: Final = "ground_truth"


def scan_folder(folder: Path) -> Scan:
    """Images and masks of a folder of photographs, in one of two forms.

    Either `train/good`, `test/good`, `test/<defect>`, as `scan_mvtec` reads them; or `good` and `<defect>` side by
    side: then a fifth of the good images, drawn from their names with a fixed seed, are for testing, and all others
    for training. Beside either may stand `ground_truth/<defect>` with a mask for every image of a defect; without
    that folder there are no masks, and metrics are of images only.

    Raises `InputError` as `scan_mvtec` does, and when there are fewer than two good images.
    """
    if (folder / "train").exists() or not (folder / _GOOD).is_dir():
        return scan_mvtec(folder, need_masks=False)
    scan = Scan()
    wanted: list[Wanted] = []
    for entry in folders(folder, scan):
        if entry.name not in {_GOOD, _TRUTH}:
            wanted.extend(Wanted(image, entry.name) for image in images(entry, scan))
    good = images(folder / _GOOD, scan)
    if len(good) < 2:
        raise InputError(f"{folder / _GOOD} holds {len(good)} images: {PHOTOGRAPHS}, two at least ({suffixes()}).")
    drawn = np.random.default_rng(SEED).permutation(len(good))[: max(1, round(TEST_SHARE * len(good)))]
    splits = ["test" if index in drawn else "train" for index in range(len(good))]
    scan.found.extend(Found(image, None, split, 0, _GOOD) for image, split in zip(good, splits, strict=True))
    find_masks(folder / _TRUTH, wanted, scan, needed=False)
    return scan


def holds_photographs(folder: Path) -> bool:
    """Whether a folder is a category in one of the two forms."""
    return (folder / "train" / _GOOD).is_dir() or (folder / _GOOD).is_dir()
