"""KolektorSDD as published (Tabernik et al., Journal of Intelligent Manufacturing 2020): folders of one item each.

The data set has no split for learning from good parts alone; the one made here never changes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from discrepancy.data.layouts.files import is_image, key, other_entries, visible
from discrepancy.data.layouts.masks import note_unmasked
from discrepancy.data.reading import read_mask
from discrepancy.data.samples import FolderScan, ImageRecord
from discrepancy.errors import InputError

ITEM: Final = re.compile(r"kos\d+", re.IGNORECASE)
TEST_SHARE: Final = 0.2
SEED: Final = 0
_LABEL: Final = "_label"


def scan_kolektor_sdd(folder: Path) -> FolderScan:
    """List images and masks `<item>/<part>.jpg` with `<item>/<part>_label.bmp`, items being `kos01`, `kos02`, ...

    Here alone the label comes from the mask: nothing else says which parts are cracked. All cracked parts are in
    `test`, as defect `crack`. A fifth of the items, drawn with a fixed seed from their names, gives its good parts to
    `test`, all others give theirs to `train`. (Nearly every item has a cracked part, so no split keeps items apart.)

    A part without a label file is noted in the scan, one whose label file cannot be read as a fault.

    Raises `InputError` when there are no items, or no good part is left for training.
    """
    scan = FolderScan()
    items = [entry for entry in visible(folder) if entry.is_dir() and ITEM.fullmatch(entry.name)]
    other_entries(folder, {item.name for item in items}, scan)
    if not items:
        raise InputError(f"{folder} holds no items: expected folders kos01, kos02, ... with Part0.jpg and its like.")
    drawn = np.random.default_rng(SEED).permutation(len(items))[: max(1, round(TEST_SHARE * len(items)))]
    for index, item in enumerate(items):
        _scan_item(item, "test" if index in drawn else "train", scan)
    if not any(sample.split == "train" for sample in scan.found):
        raise InputError(f"{folder} holds no good part to train on: expected parts whose label file is black.")
    return scan


def _scan_item(item: Path, split: str, scan: FolderScan) -> None:
    """Add the parts of one item: good ones to `split`, cracked ones to `test`."""
    parts, labels = [], {}
    for entry in visible(item, scan):
        if not is_image(entry) or entry.is_dir():
            scan.ignored[entry] = "not an image by its suffix"
        elif entry.stem.endswith(_LABEL):
            labels[key(entry.stem.removesuffix(_LABEL))] = entry
        else:
            parts.append(entry)
    for part in parts:
        label = labels.pop(key(part.stem), None)
        if label is None:
            note_unmasked(part, item / f"{part.stem}{_LABEL}.bmp", scan)
            continue
        try:
            cracked = bool(read_mask(label).any())
        except InputError as error:
            scan.faults[label] = str(error)
            scan.unneeded[part] = "its label file cannot be read"
            continue
        if cracked:
            scan.found.append(ImageRecord(part, label, "test", 1, "crack"))
        else:
            scan.found.append(ImageRecord(part, None, split, 0, "good"))
            scan.unneeded[label] = "the black label of a good part"
    scan.ignored.update((label, "a label without an image") for label in labels.values())
