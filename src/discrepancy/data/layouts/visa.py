"""VisA's layout (Zou et al., ECCV 2022): a table at the top assigns images to classes and splits."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath
from typing import Final

from discrepancy.data.layouts.files import is_image, visible
from discrepancy.data.samples import FolderScan, ImageRecord, join_first
from discrepancy.errors import InputError

SPLIT_TABLE: Final = Path("split_csv/1cls.csv")
_COLUMNS: Final = ("object", "split", "label", "image", "mask")
_LABELS: Final = {"normal": 0, "anomaly": 1}


def scan_visa(folder: Path) -> FolderScan:
    """List images and masks of a category folder of VisA, by the rows of `<data root>/split_csv/1cls.csv` that name it.

    Paths in the table are relative to the data root. Images of the category that no row names are listed as ignored.

    Raises:
        InputError: the table is missing, lacks a column, has an unknown value or no row of the category. Or it names
            files that do not exist or lie elsewhere, or an anomalous image without a mask.
    """
    root, scan = folder.parent, FolderScan()
    table = root / SPLIT_TABLE
    missing: list[str] = []
    for number, row in _rows(table):
        if row["object"] != folder.name:
            continue
        place = f"{table}, line {number}"
        if row["split"] not in {"train", "test"} or row["label"] not in _LABELS:
            raise InputError(
                f"{place}: split {row['split']!r}, label {row['label']!r}; expected train or test, normal or anomaly."
            )
        label = _LABELS[row["label"]]
        if label and (not row["mask"] or row["split"] == "train"):
            raise InputError(f"{place}: {row['image']} is anomalous; expected a mask, and split test.")
        if outside := [row[name] for name in ("image", "mask") if not _inside(row[name])]:
            raise InputError(f"{place}: {outside[0]!r} leads out of {root}; expected paths inside it.")
        image, mask = root / row["image"], root / row["mask"] if label else None
        missing.extend(str(path) for path in (image, mask) if path is not None and not path.is_file())
        scan.found.append(ImageRecord(image, mask, row["split"], label, "anomaly" if label else "good"))
    if missing:
        raise InputError(f"{table} names {len(missing)} files that do not exist: {join_first(missing)}.")
    for split in ("train", "test"):
        if not any(sample.split == split for sample in scan.found):
            raise InputError(f"{table} has no row of {folder.name} in split {split}: expected some.")
    used = {path for sample in scan.found for path in (sample.image, sample.mask) if path}
    _ignore_others(folder, used, scan)
    return scan


def _inside(name: str) -> bool:
    """Return whether a path in the table stays below the data root."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of the table with their line numbers."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if lacking := [name for name in _COLUMNS if name not in (reader.fieldnames or [])]:
                raise InputError(f"{table} lacks {', '.join(lacking)}: expected the columns {', '.join(_COLUMNS)}.")
            return [(reader.line_num, {name: row[name] or "" for name in _COLUMNS}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read ({error}): expected VisA's table of splits.") from error


def _ignore_others(folder: Path, used: set[Path], scan: FolderScan) -> None:
    """List every file in the category's folder that is neither an image nor a mask of the table."""
    for entry in visible(folder, scan):
        if entry.is_dir() and entry.is_symlink():
            if not any(entry in path.parents for path in used):
                scan.ignored[entry] = "a link to a folder"  # not followed: it may lead back here
        elif entry.is_dir():
            _ignore_others(entry, used, scan)
        elif entry not in used:
            scan.ignored[entry] = f"not in {SPLIT_TABLE.name}" if is_image(entry) else "not an image by its suffix"
