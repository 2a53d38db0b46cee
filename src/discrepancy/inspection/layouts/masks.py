"""Which mask belongs to which image of a defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from discrepancy.errors import InputError
from discrepancy.inspection.layouts.files import folders, images, key
from discrepancy.inspection.samples import Found, Scan, name_some


class Wanted(NamedTuple):
    """An image of a defect, for which a mask is wanted."""

    image: Path
    defect: str


def find_masks(truth: Path, wanted: Sequence[Wanted], scan: Scan, *, good: str = "good", needed: bool = True) -> None:
    """Adds the wanted images with their masks to `scan`, and what is left over in `truth` as ignored.

    The mask of `<defect>/<stem>.*` is `<truth>/<defect>/<stem>_mask.*` or `<truth>/<defect>/<stem>.*`. A folder
    `<truth>/<good>`, which some data sets have, is not needed: good parts have no mask. Where masks are not `needed`
    and there is no folder `truth`, images are added without; with that folder each must have one, so that no
    defect's pixels are taken for good ones.

    Raises `InputError` when an image has no mask or more than one, or two images share one.
    """
    if not needed and not truth.exists():
        scan.found.extend(Found(image, None, "test", 1, defect) for image, defect in wanted)
        return
    masks: dict[tuple[str, str], list[Path]] = {}
    for defect in folders(truth, scan) if truth.is_dir() else ():
        if defect.name == good:
            scan.unneeded[defect] = "masks of good parts"
            continue
        for mask in images(defect, scan):
            masks.setdefault((defect.name, key(mask.stem)), []).append(mask)
    missing: list[str] = []
    owners: dict[Path, Path] = {}
    for image, defect_name in wanted:
        stem = key(image.stem)
        candidates = masks.get((defect_name, f"{stem}_mask")) or masks.get((defect_name, stem)) or []
        if len(candidates) > 1:
            raise InputError(f"{image} has {len(candidates)} masks: expected one of {name_some(candidates)}.")
        if not candidates:
            missing.append(f"{image} (expected {truth / defect_name / image.stem}_mask.png)")
            continue
        mask = candidates[0]
        if mask in owners:
            raise InputError(f"{owners[mask]} and {image} share the mask {mask}: expected one mask for each image.")
        owners[mask] = image
        scan.found.append(Found(image, mask, "test", 1, defect_name))
    refuse_missing(missing, hint="" if needed else f"; or no folder {truth.name} at all, for metrics of images only")
    unused = (mask for candidates in masks.values() for mask in candidates if mask not in owners)
    scan.ignored.update((mask, "a mask without an image of a defect") for mask in unused)


def refuse_missing(missing: Sequence[str], *, hint: str = "") -> None:
    """An `InputError` that names the images of defects without a mask, if there are any."""
    if missing:
        having = "image of a defect has" if len(missing) == 1 else "images of defects have"
        raise InputError(f"{len(missing)} {having} no mask: {name_some(missing)}{hint}.")
