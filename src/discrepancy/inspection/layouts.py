"""How each data set lies on disk: one small reader each, all giving the same sample table."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pandas as pd

from discrepancy.errors import InputError
from discrepancy.inspection.reading import IMAGE_SUFFIXES
from discrepancy.inspection.samples import Found, Scan, name_some, sample_table

Reader: TypeAlias = Callable[[Path], Scan]
"""Finds the images and masks of one category folder; opens none of them."""

_GOOD: Final = "good"
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
_PHOTOGRAPHS: Final = "expected a folder of photographs of good parts"
_NO_IMAGE: Final = "not an image by its suffix"


def read_samples(dataset: str, data_root: Path, category: str) -> pd.DataFrame:
    """The sample table (see `samples.sample_table`) of one category, paths relative to `data_root`.

    Raises `InputError` when data set or category do not exist, or what lies there is not what it should be.
    """
    folder = find_category(dataset, data_root, category)
    return sample_table(LAYOUTS[dataset](folder), root=data_root)


def find_category(dataset: str, data_root: Path, category: str) -> Path:
    """The folder of `category`: `<data_root>/<category>`.

    For `folder` it may be `data_root` itself, where that directly holds `train/good`; `category` is then just a name.
    Raises `InputError` when data set, data root or category do not exist; it names those that do.
    """
    if dataset not in LAYOUTS:
        raise InputError(f"Unknown dataset {dataset!r}: expected one of {', '.join(sorted(LAYOUTS))}.")
    if category in {"", ".."} or category != Path(category).name or "\\" in category:
        raise InputError(f"category is {category!r}: expected the plain name of a folder in {data_root}.")
    if not data_root.is_dir():
        found = "is not a folder" if data_root.exists() else "does not exist"
        raise InputError(f"The data root {data_root} {found}: expected a folder that holds {category}/train/{_GOOD}.")
    folder = data_root / category
    if folder.is_dir():
        return folder
    if dataset == "folder" and (data_root / "train" / _GOOD).is_dir():
        return data_root
    known = [entry.name for entry in _visible(data_root) if (entry / "train" / _GOOD).is_dir()]
    raise InputError(
        f"Category {category!r} was not found: there is no folder {folder}. "
        + (f"Categories there: {', '.join(known)}." if known else f"No folder there holds train/{_GOOD}.")
    )


def read_mvtec(folder: Path, *, root: Path) -> pd.DataFrame:
    """The sample table (see `samples.sample_table`) of a category folder in MVTec AD's layout, see `scan_mvtec`."""
    return sample_table(scan_mvtec(folder), root=root)


def scan_mvtec(folder: Path) -> Scan:
    """Images and masks of a category folder in MVTec AD's layout (Bergmann et al., CVPR 2019).

    `train/good/*`, `test/<defect>/*` (`good` among them), and `ground_truth/<defect>/<stem>_mask.*` or `<stem>.*`
    for every image of a defect. Images are told by their suffix, in upper or lower case. Hidden files, `Thumbs.db`
    and `desktop.ini` are passed over; all else that is no sample is listed as ignored.

    Raises `InputError` when `train/good` or `test` is missing or without images, an image of a defect has no mask
    or more than one, or two images share one.
    """
    scan = Scan()
    for entry in _visible(folder):
        if entry.name not in {"train", "test", "ground_truth"} and (entry.is_dir() or _is_image(entry)):
            scan.ignored[entry] = "not part of the layout"
    train = _existing(folder / "train" / _GOOD, _PHOTOGRAPHS)
    _defects(folder / "train", scan, only=_GOOD)
    test = _existing(folder / "test", f"expected test/{_GOOD} and test/<defect> with photographs to be judged")
    images = _images(train, scan)
    if not images:
        raise InputError(f"{train} holds no images: {_PHOTOGRAPHS} ({_suffixes()}).")
    scan.found.extend(Found(image, None, "train", 0, _GOOD) for image in images)
    wanted: list[_Wanted] = []
    for defect in _defects(test, scan):
        images = _images(defect, scan)
        if defect.name == _GOOD:
            scan.found.extend(Found(image, None, "test", 0, _GOOD) for image in images)
        else:
            wanted.extend(_Wanted(image, defect.name) for image in images)
    _find_masks(folder / "ground_truth", wanted, scan)
    if not any(sample.split == "test" for sample in scan.found):
        raise InputError(f"{test} holds no images: expected test/{_GOOD} or test/<defect> with images ({_suffixes()}).")
    return scan


LAYOUTS: Final[dict[str, Reader]] = {
    "demo": scan_mvtec,
    "folder": scan_mvtec,
    "mvtec_ad": scan_mvtec,
}
"""The reader of each data set."""


class _Wanted(NamedTuple):
    """An image of a defect, for which a mask is wanted."""

    image: Path
    defect: str


def _find_masks(truth: Path, wanted: Sequence[_Wanted], scan: Scan) -> None:
    """Adds the wanted images with their masks to `scan`, and what is left over in `truth` as ignored."""
    masks: dict[tuple[str, str], list[Path]] = {}
    for defect in _defects(truth, scan) if truth.is_dir() else ():
        for mask in _images(defect, scan):
            masks.setdefault((defect.name, _key(mask.stem)), []).append(mask)
    missing: list[str] = []
    owners: dict[Path, Path] = {}
    for image, defect_name in wanted:
        stem = _key(image.stem)
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
    if missing:
        having = "image of a defect has" if len(missing) == 1 else "images of defects have"
        raise InputError(f"{len(missing)} {having} no mask: {name_some(missing)}.")
    unused = (mask for candidates in masks.values() for mask in candidates if mask not in owners)
    scan.ignored.update((mask, "a mask without an image of a defect") for mask in unused)


def _key(stem: str) -> str:
    """Names are compared composed: archives packed on macOS hold an umlaut as two characters."""
    return unicodedata.normalize("NFC", stem)


def _defects(folder: Path, scan: Scan, *, only: str | None = None) -> list[Path]:
    """The folders (of defects, or `good`) in `folder`; all else there is ignored."""
    folders = []
    for entry in _visible(folder):
        if entry.is_dir() and only in {None, entry.name}:
            folders.append(entry)
        else:
            scan.ignored[entry] = f"not in {folder.name}/{only or '<defect>'}"
    return folders


def _images(folder: Path, scan: Scan) -> list[Path]:
    """The image files directly in `folder`; all else there is ignored."""
    images = []
    entries = list(_visible(folder))
    for entry in entries:
        if entry.is_dir():
            scan.ignored[entry] = "a folder among images"
        elif _is_image(entry):
            images.append(entry)
        else:
            scan.ignored[entry] = _NO_IMAGE
    if not entries:
        scan.ignored[folder] = "an empty folder"
    return images


def _visible(folder: Path) -> Iterator[Path]:
    """What lies in `folder`, sorted by name, without hidden files and the litter of file managers."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): expected a readable folder.") from error
    for entry in entries:
        if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
            yield entry


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _existing(folder: Path, expected: str) -> Path:
    if folder.is_dir():
        return folder
    # The nearest folder that exists says most about what went wrong.
    near = next(parent for parent in folder.parents if parent.is_dir())
    inside = name_some(entry.name for entry in _visible(near)) or "nothing"
    raise InputError(f"The folder {folder} does not exist: {expected}. In {near} lies: {inside}.")


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
