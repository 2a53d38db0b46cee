"""MVTec AD's layout (Bergmann et al., CVPR 2019), and BTAD's (Mishra et al., ISIE 2021), which has other names."""

from __future__ import annotations

from pathlib import Path

from discrepancy.data.layouts.files import existing, folders, images, other_entries, spelled, suffixes
from discrepancy.data.layouts.masks import Wanted, find_masks, find_truth, kinds, note_masks_among_images
from discrepancy.data.layouts.names import means_good, means_test, means_train
from discrepancy.data.samples import FolderScan, ImageRecord
from discrepancy.errors import InputError

PHOTOGRAPHS = "expected a folder of photographs of good parts"


def scan_mvtec(folder: Path, *, good: str = "good", need_masks: bool = True) -> FolderScan:
    """List images and masks of a category folder in MVTec AD's layout.

    The layout is `train/good/*`, `test/<defect>/*` (`good` among them), and `ground_truth/<defect>/<stem>_mask.*` or
    `<stem>.*` for every image of a defect. Images are recognised by their suffix, in upper or lower case. Hidden files,
    `Thumbs.db` and `desktop.ini` are skipped; all other entries are listed as ignored. Other names that mean the same
    (`Train`, `test/OK`, `masks`; see `names`) are understood, and noted.

    Args:
        folder: of the category.
        good: the name of the folders of good parts; in the sample table it is `good` all the same.
        need_masks: a tree without `ground_truth` lacks masks.

    Masks that are missing or not clear are noted in the scan, see `masks.find_masks`.

    Raises `InputError` when `train/good` or `test` is missing or without images, or several folders could be meant.
    """
    scan = FolderScan()
    home = spelled(folder, "train", means_train, scan)
    train = existing(spelled(home, good, means_good, scan), PHOTOGRAPHS)
    test = existing(
        spelled(folder, "test", means_test, scan),
        f"expected test/{good} and test/<defect> with photographs to be judged",
    )
    truth = find_truth([folder, test], scan)
    other_entries(folder, {home.name, test.name, truth.name}, scan)
    folders(home, scan, only=train.name)
    found = images(train, scan)
    if not found:
        raise InputError(f"{train} holds no images: {PHOTOGRAPHS} ({suffixes()}).")
    scan.found.extend(ImageRecord(image, None, "train", 0, "good") for image in found)
    passed = spelled(test, good, means_good, scan)
    if passed.is_dir():
        scan.found.extend(ImageRecord(image, None, "test", 0, "good") for image in images(passed, scan))
    wanted = [
        Wanted(image, defect.name) for defect in kinds(test, passed, truth, scan) for image in images(defect, scan)
    ]
    find_masks(truth, wanted, scan, needed=need_masks)
    if not need_masks:
        note_masks_among_images(scan)
    if not any(sample.split == "test" for sample in scan.found):
        raise InputError(f"{test} holds no images: expected test/{good} or test/<defect> with images ({suffixes()}).")
    return scan


def scan_btad(folder: Path) -> FolderScan:
    """List images and masks of a category folder (`01`, `02`, `03`) of BTAD: `scan_mvtec` with `ok` and `ko`.

    Its masks are named as their images, `.png` or `.bmp`.
    """
    return scan_mvtec(folder, good="ok")
