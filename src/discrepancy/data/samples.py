"""The sample table: one row per image, the common form of every data set."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pandas as pd

from discrepancy.data.reading import pillow_limit_disabled, read_bytes, read_header
from discrepancy.data.thread_map import attempt_all
from discrepancy.errors import InputError
from discrepancy.names import escaped

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Columns and their types. Text stays text: a defect may be called "01" or "NA".
SAMPLE_COLUMNS: Final[dict[str, type]] = {
    "image": str,
    "mask": str,
    "split": str,
    "label": int,
    "defect": str,
    "width": int,
    "height": int,
    "sha256": str,
}
SPLIT_COLUMNS: Final[dict[str, type]] = {**SAMPLE_COLUMNS, "bit_depth": int}
"""Columns of the table once splits are drawn: with the bits that all 16-bit photographs use, 0 if there are none."""
_DIGEST_COLUMNS: Final = ("image", "sha256", "split", "label")


@dataclass(frozen=True)
class ImageRecord:
    """An image as found by a layout's reader. `label` comes from the folder: 0 good, 1 anomalous."""

    image: Path
    mask: Path | None
    split: str
    label: int
    defect: str


@dataclass(frozen=True)
class FolderScan:
    """Contents of a folder as a reader found them: every file is an image, a mask, or left out for a reason.

    Attributes:
        found: the images, with their masks.
        ignored: files that do not belong to the layout, with the reason; they are logged.
        unneeded: files or whole folders of the data set that are not used here, with the reason.
        unmasked: images of defects whose mask is missing, and where it was expected; found all the same.
        faults: files that cannot be used as they are, and why, a sentence each. With a fault, or an image unmasked,
            there is no sample table.
        notes: folders with unusual names, and their interpretation.
    """

    found: list[ImageRecord] = field(default_factory=list)
    ignored: dict[Path, str] = field(default_factory=dict)
    unneeded: dict[Path, str] = field(default_factory=dict)
    unmasked: dict[Path, str] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)
    notes: dict[Path, str] = field(default_factory=dict)


def sample_table(scan: FolderScan, *, root: Path, workers: int | None = None) -> pd.DataFrame:
    """Return the sample table of the images in `scan`, sorted by image path.

    Columns: `image`, `mask` (POSIX paths relative to `root`; mask empty for good images), `split` (`train`,
    `validation`, `test`), `label` (0 good, 1 anomalous), `defect`. Further columns: `width`, `height` (pixels,
    upright), `sha256` (of the image file). Each file is read once, in `workers` threads (default: one per usable
    core). Ignored files are logged as one warning.

    Raises:
        InputError: the scan met faults, an image or mask cannot be read, or a mask is of another size than its image.
            Or the same image (byte for byte) is in `test` and in another split. The message names the files.
    """
    for folder, how in scan.notes.items():
        logger.info("%s %s", shown(folder, root), how)
    _warn_of_ignored(scan, root)
    _check_faults(scan)
    found = sorted(scan.found, key=lambda sample: _relative(sample.image, root))
    images = [sample.image for sample in found]
    masks = [sample.mask for sample in found if sample.mask is not None]
    _warn_of_lossy_masks(masks)
    with pillow_limit_disabled():
        measured = _read_all(_measure, images, workers, "images")
        mask_sizes = dict(zip(masks, _read_all(_measure_mask, masks, workers, "masks"), strict=True))
    _check_mask_sizes(found, [size for size, _ in measured], mask_sizes)
    table = pd.DataFrame(
        {
            "image": [_relative(sample.image, root) for sample in found],
            "mask": [_relative(sample.mask, root) if sample.mask else "" for sample in found],
            "split": [sample.split for sample in found],
            "label": [sample.label for sample in found],
            "defect": [sample.defect for sample in found],
            "width": [width for (width, _), _ in measured],
            "height": [height for (_, height), _ in measured],
            "sha256": [digest for _, digest in measured],
        },
    ).astype(SAMPLE_COLUMNS)
    _check_leaks(table, root)
    _warn_of_one_kind(table)
    return table


def count_splits(samples: pd.DataFrame) -> tuple[int, int]:
    """Return the numbers of training images and of held-out good images in a sample table."""
    splits = samples["split"].value_counts()
    return int(splits.get("train", 0)), int(splits.get("validation", 0))


def data_digest(samples: pd.DataFrame, *, columns: Sequence[str] = _DIGEST_COLUMNS) -> str:
    """Return the sha256 (64 hexadecimal digits) of the rows of a sample table, whatever their order.

    Two tables have the same digest if `columns` hold the same values. By default these are path, bytes, split and label
    of each image. A detector's card names its training data by this digest.
    """
    rows = sorted(json.dumps([str(value) for value in row]) for row in samples[list(columns)].itertuples(index=False))
    return hashlib.sha256("\n".join([json.dumps(list(columns)), *rows]).encode()).hexdigest()


def check_photographs(samples: pd.DataFrame, photographs: pd.DataFrame) -> None:
    """Refuse a sample table from an earlier run if the photographs on disk have changed since.

    Args:
        samples: a sample table, its splits drawn.
        photographs: the table of the same folder, as it is read now.

    Raises:
        InputError: photographs were changed, added or removed; the message names them.
    """
    key = ["image", "sha256", "mask", "label"]
    then, now = (set(table[key].itertuples(index=False, name=None)) for table in (samples, photographs))
    if then != now:
        names = sorted({row[0] for row in then ^ now})
        raise InputError(
            f"{_count(names, 'photograph was', 'photographs were')} changed, added or removed since the sample "
            f"table was made: {join_first(names)}; expected the same ones: start at the beginning"
        )


def join_first(names: Iterable[object], *, most: int = 3) -> str:
    """Join the first `most` of `names`, and say how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _measure(path: Path) -> tuple[tuple[int, int], str]:
    """Return ((width, height), sha256) of an image file."""
    data = read_bytes(path)
    return read_header(path, data).size, hashlib.sha256(data).hexdigest()


def _measure_mask(path: Path) -> tuple[int, int]:
    return read_header(path, read_bytes(path)).size


def _read_all(read: Callable[[Path], Result], paths: Sequence[Path], workers: int | None, title: str) -> list[Result]:
    """Apply `read` to every path, in order; one error names all unreadable files."""
    results: list[Result] = []
    errors: list[tuple[Path, InputError]] = []
    for path, result in zip(paths, attempt_all(read, paths, workers=workers, title=title), strict=True):
        if isinstance(result, InputError):
            errors.append((path, result))
        else:
            results.append(result)
    if len(errors) > 1:
        others = join_first(path for path, _ in errors[1:])
        raise InputError(f"{errors[0][1]} {len(errors)} files cannot be read, also: {others}.") from errors[0][1]
    if errors:
        raise errors[0][1]
    return results


def _check_faults(scan: FolderScan) -> None:
    if scan.faults:
        first, *others = scan.faults.values()
        raise InputError(
            f"{first} {len(scan.faults)} files are at fault, also: {join_first(list(scan.faults)[1:])}."
            if others
            else first
        )
    if scan.unmasked:
        images = [f"{image} ({expected})" for image, expected in scan.unmasked.items()]
        having = _count(images, "image of a defect has", "images of defects have")
        raise InputError(f"{having} no mask: {join_first(images)}.")


def _check_mask_sizes(
    found: Sequence[ImageRecord], sizes: Sequence[tuple[int, int]], mask_sizes: dict[Path, tuple[int, int]]
) -> None:
    wrong = [
        f"{sample.mask} is {_size(mask_sizes[sample.mask])}, its image {sample.image.name} is {_size(size)}"
        for sample, size in zip(found, sizes, strict=True)
        if sample.mask is not None and mask_sizes[sample.mask] != size
    ]
    if wrong:
        raise InputError(
            f"{_count(wrong, 'mask has', 'masks have')} another size than the image: {join_first(wrong)}. "
            "Expected the same width x height (upright, where the photograph's EXIF data turn it)."
        )


def _check_leaks(table: pd.DataFrame, root: Path) -> None:
    """Refuse an image of the test split that also occurs in another split: its good score would prove nothing."""
    tested = table["split"] == "test"
    seen = table[~tested].drop_duplicates("sha256").set_index("sha256")["image"]
    leaked = table[tested & table["sha256"].isin(seen.index)]
    pairs = [
        f"{root / seen[digest]} = {root / image}"
        for image, digest in zip(leaked["image"], leaked["sha256"], strict=True)
    ]
    if pairs:
        raise InputError(
            f"{_count(pairs, 'image stands', 'images stand')} both in training and in test (same bytes): "
            f"{join_first(pairs)}. Expected test images that are not trained on: remove one of the two."
        )


def _warn_of_ignored(scan: FolderScan, root: Path) -> None:
    if scan.ignored:
        names = (f"{shown(path, root)} ({reason})" for path, reason in sorted(scan.ignored.items()))
        logger.warning("%s not used: %s", _count(scan.ignored, "entry is", "entries are"), join_first(names, most=10))


def _warn_of_one_kind(table: pd.DataFrame) -> None:
    """Warn of a test split of one class only, which leaves most metrics undefined; none is no fault."""
    tested = table.loc[table["split"] == "test", "label"]
    if not len(tested):
        return
    lost = (
        (0, "good", "image AUROC and the false-alarm rate"),
        (1, "defective", "AUROC, AUPRO and the detection rate"),
    )
    for label, words, metrics in lost:
        if not (tested == label).any():
            kinds = join_first(sorted(set(table.loc[table["split"] == "test", "defect"])))
            logger.warning(
                "no %s test images (there are %d: %s): %s are not defined", words, len(tested), kinds, metrics
            )


def _warn_of_lossy_masks(masks: Sequence[Path]) -> None:
    lossy = [mask for mask in masks if mask.suffix.lower() in {".jpg", ".jpeg"}]
    if lossy:
        logger.warning(
            "%s: %s. Compression leaves values above 0 around each region, and all of them count as anomalous; "
            "masks are better stored as PNG.",
            _count(lossy, "mask is a JPEG file", "masks are JPEG files"),
            join_first(lossy),
        )


def _relative(path: Path, root: Path) -> str:
    """Return the POSIX path relative to the data root, as the table holds it."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The file name {name!r} is not valid UTF-8: expected names that can be written into a table, rename it."
        ) from error
    return name


def shown(path: Path, root: Path) -> str:
    """Return the POSIX path relative to the data root, for messages: invalid UTF-8 is escaped."""
    return escaped(path.relative_to(root).as_posix())


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _count(things: Sequence[object] | dict[Path, str], one: str, many: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else many}"
