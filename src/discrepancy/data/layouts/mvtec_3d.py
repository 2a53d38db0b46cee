"""MVTec 3D-AD's layout (Bergmann et al., VISAPP 2022), its colour photographs only."""

from __future__ import annotations

from pathlib import Path

from discrepancy.data.layouts.files import (
    existing,
    folders,
    images,
    key,
    other_entries,
    refuse,
    spelled,
    suffixes,
    visible,
)
from discrepancy.data.layouts.masks import note_unmasked
from discrepancy.data.layouts.names import means_good
from discrepancy.data.samples import FolderScan, ImageRecord
from discrepancy.errors import InputError

_SPLITS = ("train", "validation", "test")


def scan_mvtec_3d(folder: Path) -> FolderScan:
    """List images and masks of a category folder of MVTec 3D-AD.

    The layout is `{train,validation}/good/rgb/*`, `test/<defect>/rgb/*` (`good` among them), and
    `test/<defect>/gt/<stem>.*`, in which any value above 0 is anomalous. The data set's own validation split is used.
    The point clouds (`xyz`) and the empty masks of good parts are not needed; all other entries are listed as ignored.

    Images of defects without a mask are noted in the scan.

    Raises `InputError` when a split is missing or without images.
    """
    scan = FolderScan()
    other_entries(folder, _SPLITS, scan)
    for split in _SPLITS:
        inside = existing(folder / split, f"expected {split}/good/rgb with photographs")
        before = len(scan.found)
        good = spelled(inside, "good", means_good, scan)
        for defect in folders(inside, scan, only=None if split == "test" else good.name):
            if defect != good and means_good(defect.name):
                refuse(defect, scan, f"means good parts, as {good.name} beside it: expected one of the two")
            else:
                _scan_defect(defect, split, scan, good=defect == good)
        if len(scan.found) == before:
            raise InputError(f"{inside} holds no images: expected {split}/good/rgb with images ({suffixes()}).")
    return scan


def _scan_defect(defect: Path, split: str, scan: FolderScan, *, good: bool) -> None:
    """Add the entries of `<split>/<defect>`: colour photographs, and masks beside them."""
    for entry in visible(defect, scan):
        if entry.name == "xyz" and entry.is_dir():
            scan.unneeded[entry] = "point clouds; colour photographs only are used"
        elif entry.name not in {"rgb", "gt"} or not entry.is_dir():
            scan.ignored[entry] = "not part of the layout"
    photographs = images(defect / "rgb", scan) if (defect / "rgb").is_dir() else []
    if good:
        scan.found.extend(ImageRecord(image, None, split, 0, "good") for image in photographs)
        if (defect / "gt").is_dir():
            scan.unneeded[defect / "gt"] = "masks of good parts"
        return
    masks = {key(mask.stem): mask for mask in (images(defect / "gt", scan) if (defect / "gt").is_dir() else [])}
    for image in photographs:
        mask = masks.pop(key(image.stem), None)
        if mask is None:
            note_unmasked(image, defect / "gt" / f"{image.stem}.png", scan)
        scan.found.append(ImageRecord(image, mask, "test", 1, defect.name))
    scan.ignored.update((mask, "a mask without an image of a defect") for mask in masks.values())
