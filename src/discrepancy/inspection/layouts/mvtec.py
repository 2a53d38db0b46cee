"""MVTec AD's layout (Bergmann et al., CVPR 2019), and BTAD's (Mishra et al., ISIE 2021), which has other names."""

from __future__ import annotations

from pathlib import Path

from discrepancy.errors import InputError
from discrepancy.inspection.layouts.files import existing, folders, images, other_entries, suffixes
from discrepancy.inspection.layouts.masks import Wanted, find_masks
from discrepancy.inspection.samples import Found, Scan

PHOTOGRAPHS = "expected a folder of photographs of good parts"


def scan_mvtec(folder: Path, *, good: str = "good", need_masks: bool = True) -> Scan:
    """Images and masks of a category folder in MVTec AD's layout.

    `train/good/*`, `test/<defect>/*` (`good` among them), and `ground_truth/<defect>/<stem>_mask.*` or `<stem>.*`
    for every image of a defect. Images are told by their suffix, in upper or lower case. Hidden files, `Thumbs.db`
    and `desktop.ini` are passed over; all else that is no sample is listed as ignored.

    Args:
        folder: of the category.
        good: the name of the folders of good parts; in the sample table it is `good` all the same.
        need_masks: a tree without `ground_truth` lacks masks.

    Masks that are missing or not clear are noted in the scan, see `masks.find_masks`.

    Raises `InputError` when `train/good` or `test` is missing or without images.
    """
    scan = Scan()
    other_entries(folder, {"train", "test", "ground_truth"}, scan)
    train = existing(folder / "train" / good, PHOTOGRAPHS)
    folders(folder / "train", scan, only=good)
    test = existing(folder / "test", f"expected test/{good} and test/<defect> with photographs to be judged")
    found = images(train, scan)
    if not found:
        raise InputError(f"{train} holds no images: {PHOTOGRAPHS} ({suffixes()}).")
    scan.found.extend(Found(image, None, "train", 0, "good") for image in found)
    wanted: list[Wanted] = []
    for defect in folders(test, scan):
        found = images(defect, scan)
        if defect.name == good:
            scan.found.extend(Found(image, None, "test", 0, "good") for image in found)
        else:
            wanted.extend(Wanted(image, defect.name) for image in found)
    find_masks(folder / "ground_truth", wanted, scan, good=good, needed=need_masks)
    if not any(sample.split == "test" for sample in scan.found):
        raise InputError(f"{test} holds no images: expected test/{good} or test/<defect> with images ({suffixes()}).")
    return scan


def scan_btad(folder: Path) -> Scan:
    """Images and masks of a category folder (`01`, `02`, `03`) of BTAD: `scan_mvtec` with `ok` for good, `ko` for bad.

    Its masks are named as their images, `.png` or `.bmp`.
    """
    return scan_mvtec(folder, good="ok")
