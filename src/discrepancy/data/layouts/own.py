"""The user's own photographs: MVTec AD's folders, or just `good` and folders of defects; masks if there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from discrepancy.data.layouts.files import images, named, spelled, suffixes
from discrepancy.data.layouts.masks import Wanted, find_masks, find_truth, kinds, note_masks_among_images
from discrepancy.data.layouts.mvtec import PHOTOGRAPHS, scan_mvtec
from discrepancy.data.layouts.names import means_good, means_split, means_train
from discrepancy.data.samples import FolderScan, ImageRecord
from discrepancy.errors import InputError

TEST_SHARE: Final = 0.2
SEED: Final = 0
_GOOD: Final = "good"


def scan_folder(folder: Path) -> FolderScan:
    """List images and masks of a folder of photographs, in one of two forms.

    Either `train/good`, `test/good`, `test/<defect>`, as `scan_mvtec` reads them; or `good` and `<defect>` side by
    side: then a fifth of the good images, drawn from their names with a fixed seed, are for testing, and all others
    for training. `normal` beside `anomaly`, `ok` beside `ng` and their like are read as well, see `names`. Beside
    either may stand `ground_truth/<defect>` with a mask for every image of a defect; without that folder there are no
    masks, and metrics are of images only.

    Raises `InputError` as `scan_mvtec` does, when there are fewer than two good images, and when a split stands beside
    `good`.
    """
    if named(folder, means_train) or not named(folder, means_good):
        return scan_mvtec(folder, need_masks=False)
    scan = FolderScan()
    passed = spelled(folder, _GOOD, means_good, scan)
    truth = find_truth([folder], scan)
    wanted: list[Wanted] = []
    for entry in kinds(folder, passed, truth, scan):
        if means_split(entry.name):
            raise InputError(
                f"{entry} stands beside {passed.name}: expected {passed.name} beside folders of defects, or "
                "train/good, test/good and test/<defect>."
            )
        wanted.extend(Wanted(image, entry.name) for image in images(entry, scan))
    good = images(passed, scan)
    if len(good) < 2:
        raise InputError(f"{passed} holds {len(good)} images: {PHOTOGRAPHS}, two at least ({suffixes()}).")
    drawn = np.random.default_rng(SEED).permutation(len(good))[: max(1, round(TEST_SHARE * len(good)))]
    splits = ["test" if index in drawn else "train" for index in range(len(good))]
    scan.found.extend(ImageRecord(image, None, split, 0, _GOOD) for image, split in zip(good, splits, strict=True))
    find_masks(truth, wanted, scan, needed=False)
    note_masks_among_images(scan)
    return scan


def holds_photographs(folder: Path) -> bool:
    """Return whether a folder is a category in one of the two forms."""
    return any(named(home, means_good) for home in [folder, *named(folder, means_train)])
