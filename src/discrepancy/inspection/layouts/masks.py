"""Which mask belongs to which image of a defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    defect's pixels are taken for good ones. An image without a mask is noted as unmasked; one with several masks, or
    with another's, as a fault.
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
    hint = "" if needed else f", or no folder {truth.name} at all, for metrics of images only"
    owners: dict[Path, Path] = {}
    for image, defect_name in wanted:
        stem = key(image.stem)
        candidates = masks.get((defect_name, f"{stem}_mask")) or masks.get((defect_name, stem)) or []
        if len(candidates) > 1:
            scan.faults[image] = f"{image} has {len(candidates)} masks: expected one of {name_some(candidates)}."
        if not candidates:
            note_unmasked(image, truth / defect_name / f"{image.stem}_mask.png", scan, hint=hint)
        own = candidates[0] if candidates else None
        if own in owners:
            scan.faults[image] = f"{owners[own]} and {image} share the mask {own}: expected one mask for each image."
        elif own:
            owners[own] = image
        scan.ignored.update((other, f"one more mask of {image.name}") for other in candidates[1:])
        scan.found.append(Found(image, own, "test", 1, defect_name))
    for candidates in masks.values():
        for mask in candidates:
            if mask not in owners:
                scan.ignored.setdefault(mask, "a mask without an image of a defect")


def note_unmasked(image: Path, expected: Path, scan: Scan, *, hint: str = "") -> None:
    """Notes in `scan` that an image of a defect has no mask, and where it was expected."""
    scan.unmasked[image] = f"expected {expected}{hint}"
