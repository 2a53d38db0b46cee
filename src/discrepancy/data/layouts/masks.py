"""Matching of masks to images of defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from discrepancy.data.layouts.files import folders, images, is_image, key, named, refuse, visible
from discrepancy.data.layouts.names import means_good, means_litter, means_masks
from discrepancy.data.samples import FolderScan, ImageRecord, join_first

TRUTH: Final = "ground_truth"
_FLAT: Final = ""  # the kind of masks that lie in no folder of a kind
_ENDINGS: Final = ("_mask", "_masks", "_gt", "_ground_truth", "-mask")


class Wanted(NamedTuple):
    """An image of a defect that needs a mask."""

    image: Path
    defect: str


def find_truth(homes: Sequence[Path], scan: FolderScan) -> Path:
    """Return the folder of masks in one of `homes`: `ground_truth`, or else a folder whose name means masks (noted).

    A name like `label` may also be that of a defect: it is, if the folder of masks has one of that name. If there is no
    folder of masks it is `ground_truth` in the first home, which does not exist.

    Where several could be meant, that is noted as a fault.
    """
    exact = homes[0] / TRUTH
    if exact.is_dir():
        return exact
    found = [entry for home in homes for entry in named(home, means_masks) if _holds_images(entry)]
    truths = [entry for entry in found if not any((other / entry.name).is_dir() for other in found)]
    if len(truths) == 1:
        scan.notes[truths[0]] = "is taken for masks"
        return truths[0]
    for entry in truths:
        refuse(entry, scan, f"may hold the masks, as others beside it: expected one, best called {TRUTH}")
    return exact


def kinds(home: Path, good: Path, truth: Path, scan: FolderScan) -> list[Path]:
    """Return the folders of defects in `home`, without those of good parts and masks.

    A further folder whose name means good parts or masks is no defect: that is noted as a fault.
    """
    found = []
    for entry in folders(home, scan):
        if entry in {good, truth} or entry in scan.faults:
            continue
        if means_good(entry.name):
            refuse(entry, scan, f"means good parts, as {good.name} beside it: expected one of the two")
        elif means_masks(entry.name) and _holds_images(entry) and not (truth / entry.name).is_dir():
            refuse(entry, scan, f"means masks: expected them in {truth}, or another name for a kind of defect")
        else:
            found.append(entry)
    return found


def find_masks(truth: Path, wanted: Sequence[Wanted], scan: FolderScan, *, needed: bool = True) -> None:
    """Add the wanted images with their masks to `scan`, and unmatched files in `truth` as ignored.

    The mask of `<defect>/<stem>.*` is `<truth>/<defect>/<stem>_mask.*` or `<truth>/<defect>/<stem>.*`, or, where no
    mask lies in a folder of a kind, `<truth>/<stem>_mask.*` or `<truth>/<stem>.*`. A folder of good parts in `truth`,
    which some data sets have, is not needed: good parts have no mask. Where masks are not `needed`
    and there is no folder `truth`, images are added without. With that folder each must have one, so that no
    defect's pixels are taken for good ones. An image without a mask is noted as unmasked; one with several masks, or
    with another's, as a fault.
    """
    if not needed and not truth.exists():
        scan.found.extend(ImageRecord(image, None, "test", 1, defect) for image, defect in wanted)
        return
    masks = _masks(truth, scan)
    flat = bool(masks) and all(kind == _FLAT for kind, _ in masks)
    hint = "" if needed else f", or no folder {truth.name} at all, for metrics of images only"
    owners: dict[Path, Path] = {}
    for image, defect_name in wanted:
        stem, kind = key(image.stem), _FLAT if flat else key(defect_name)
        candidates = masks.get((kind, f"{stem}_mask")) or masks.get((kind, stem)) or []
        if len(candidates) > 1:
            scan.faults[image] = f"{image} has {len(candidates)} masks: expected one of {join_first(candidates)}."
        if not candidates:
            note_unmasked(image, truth / kind / f"{image.stem}_mask.png", scan, hint=hint)
        own = candidates[0] if candidates else None
        if own in owners:
            scan.faults[image] = f"{owners[own]} and {image} share the mask {own}: expected one mask for each image."
        elif own:
            owners[own] = image
        scan.ignored.update((other, f"one more mask of {image.name}") for other in candidates[1:])
        scan.found.append(ImageRecord(image, own, "test", 1, defect_name))
    for candidates in masks.values():
        for mask in candidates:
            if mask not in owners:
                scan.ignored.setdefault(mask, "a mask without an image of a defect")


def note_unmasked(image: Path, expected: Path, scan: FolderScan, *, hint: str = "") -> None:
    """Note in `scan` that an image of a defect has no mask, and where it was expected."""
    scan.unmasked[image] = f"expected {expected}{hint}"


def note_masks_among_images(scan: FolderScan) -> None:
    """Note as faults files named like the mask of an image in the same folder: they are not photographs."""
    stems = {(sample.image.parent, key(sample.image.stem)) for sample in scan.found}
    for image in (sample.image for sample in scan.found):
        for ending in _ENDINGS:
            name = image.stem.lower().removesuffix(ending)
            if name != image.stem.lower() and (image.parent, key(image.stem[: len(name)])) in stems:
                words = f"is called the mask of an image beside it: expected it in {TRUTH}/{image.parent.name}"
                scan.faults.setdefault(image, f"{image} {words}.")


def _masks(truth: Path, scan: FolderScan) -> dict[tuple[str, str], list[Path]]:
    """Return image files of masks by kind and stem; those directly in `truth` if no folder of a kind is there."""
    masks: dict[tuple[str, str], list[Path]] = {}
    if not truth.is_dir():
        return masks
    kinds = any(entry.is_dir() and not means_litter(entry.name) for entry in visible(truth))
    if not kinds:
        for mask in images(truth, scan):
            masks.setdefault((_FLAT, key(mask.stem)), []).append(mask)
        return masks
    for kind in folders(truth, scan):
        if means_good(kind.name):
            scan.unneeded[kind] = "masks of good parts"
            continue
        for mask in images(kind, scan):
            masks.setdefault((key(kind.name), key(mask.stem)), []).append(mask)
    return masks


def _holds_images(folder: Path) -> bool:
    """Return whether an image lies in a folder, or in one of its folders."""
    entries = list(visible(folder))
    inside = [entry for home in entries if home.is_dir() for entry in visible(home)]
    return any(is_image(entry) and not entry.is_dir() for entry in [*entries, *inside])
