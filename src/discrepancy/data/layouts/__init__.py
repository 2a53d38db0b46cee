"""Folder layouts of the data sets: one small reader each, all returning the same sample table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from discrepancy.data.layouts.files import key, visible
from discrepancy.data.layouts.kolektor_sdd import ITEM, scan_kolektor_sdd
from discrepancy.data.layouts.mvtec import scan_btad, scan_mvtec
from discrepancy.data.layouts.mvtec_3d import scan_mvtec_3d
from discrepancy.data.layouts.names import means_litter
from discrepancy.data.layouts.own import holds_photographs, scan_folder
from discrepancy.data.layouts.visa import scan_visa
from discrepancy.data.samples import FolderScan, sample_table
from discrepancy.errors import InputError
from discrepancy.names import check_name


@dataclass(frozen=True)
class Layout:
    """Folder layout of one data set.

    Attributes:
        scan: finds the images and masks of one category folder; opens no image (KolektorSDD: its labels).
        marker: description of the folder that identifies a category.
        holds: returns whether a folder is a category.
        alone: the data root may itself be the only category; `category` is then just a name.
    """

    scan: Callable[[Path], FolderScan]
    marker: str
    holds: Callable[[Path], bool]
    alone: bool = False


def _below(marker: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / marker).is_dir()


def _holds_items(folder: Path) -> bool:
    return any(entry.is_dir() and ITEM.fullmatch(entry.name) for entry in folder.iterdir())


LAYOUTS: Final[dict[str, Layout]] = {
    "demo": Layout(scan_mvtec, "train/good", _below("train/good")),
    "folder": Layout(scan_folder, "train/good", holds_photographs, alone=True),
    "bottlecap": Layout(scan_folder, "train/good", holds_photographs),
    "mvtec_ad": Layout(scan_mvtec, "train/good", _below("train/good")),
    "btad": Layout(scan_btad, "train/ok", _below("train/ok")),
    "mvtec_3d": Layout(scan_mvtec_3d, "train/good/rgb", _below("train/good/rgb")),
    "kolektor_sdd": Layout(scan_kolektor_sdd, "kos01", _holds_items, alone=True),
    "visa": Layout(scan_visa, "Data/Images", _below("Data/Images")),
}
"""The reader of each data set."""


def read_samples(dataset: str, data_root: Path, category: str) -> pd.DataFrame:
    """Read the sample table (see `samples.sample_table`) of one category, paths relative to `data_root`.

    Raises `InputError` if data set or category do not exist, or the folder does not have the expected layout.
    """
    return sample_table(scan_category(dataset, data_root, category), root=data_root)


def scan_category(dataset: str, data_root: Path, category: str) -> FolderScan:
    """List the contents of a category's folder before any image is opened (KolektorSDD's labels are).

    Raises `InputError` if data set or category do not exist, or the folders do not have the layout.
    """
    folder = find_category(dataset, data_root, category)
    return LAYOUTS[dataset].scan(folder)


def find_category(dataset: str, data_root: Path, category: str) -> Path:
    """Return the folder of `category`: `<data_root>/<category>`.

    For `folder` and `kolektor_sdd` it may be `data_root` itself, if that is a category; `category` is then just a name.
    Raises `InputError` if data set, data root or category do not exist; it names those that do.
    """
    layout = _layout(dataset)
    check_name("category", category, where=f"a folder in {data_root}")
    if not data_root.is_dir():
        found = "is not a folder" if data_root.exists() else "does not exist"
        raise InputError(f"The data root {data_root} {found}: expected a folder that holds {category}/{layout.marker}.")
    folder = data_root / category
    if folder.is_dir():
        return folder
    same = [entry for entry in visible(data_root) if key(entry.name) == key(category) and entry.is_dir()]
    if len(same) == 1:  # unpacked from an archive of macOS: an umlaut is two characters there
        return same[0]
    if layout.alone and _is_category(layout, data_root):
        return data_root
    known = known_categories(dataset, data_root)
    raise InputError(
        f"Category {category!r} was not found: there is no folder {folder}. "
        + (f"Categories there: {', '.join(known)}." if known else f"No folder there holds {layout.marker}.")
    )


def known_categories(dataset: str, data_root: Path) -> list[str]:
    """Return the names of the categories in `data_root`; none if it does not exist.

    Raises `InputError` if there is no such data set.
    """
    layout = _layout(dataset)
    if not data_root.is_dir():
        return []
    return [entry.name for entry in visible(data_root) if entry.is_dir() and _is_category(layout, entry)]


def _is_category(layout: Layout, folder: Path) -> bool:
    """Return whether a folder is a category; one that cannot be read, as `lost+found` of a disk, is none."""
    if means_litter(folder.name):
        return False
    try:
        return layout.holds(folder)
    except (InputError, OSError):
        return False


def _layout(dataset: str) -> Layout:
    if dataset not in LAYOUTS:
        raise InputError(f"Unknown dataset {dataset!r}: expected one of {', '.join(sorted(LAYOUTS))}.")
    return LAYOUTS[dataset]


def read_mvtec(folder: Path, *, root: Path) -> pd.DataFrame:
    """Read the sample table (see `samples.sample_table`) of a folder in MVTec AD's layout, see `scan_mvtec`."""
    return sample_table(scan_mvtec(folder), root=root)
