"""The sample table: one row per image, the form in which every data set enters the project."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pandas as pd
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.inspection.chunks import usable_cores
from discrepancy.inspection.reading import upright_size

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
_DIGEST_COLUMNS: Final = ("image", "sha256", "split", "label")
_BLOCK: Final = 4096  # files whose reading is under way at a time


@dataclass(frozen=True)
class Found:
    """One image, as a layout's reader found it. `label` comes from the folder: 0 good, 1 anomalous."""

    image: Path
    mask: Path | None
    split: str
    label: int
    defect: str


@dataclass(frozen=True)
class Scan:
    """All that a reader found in a folder: every file on disk is an image, a mask, or left out for a reason.

    Attributes:
        found: the images, with their masks.
        ignored: what has no place in the layout, and why; the user hears of it.
        unneeded: what belongs to the data set but is not used here, and why; files, or whole folders.
    """

    found: list[Found] = field(default_factory=list)
    ignored: dict[Path, str] = field(default_factory=dict)
    unneeded: dict[Path, str] = field(default_factory=dict)


def sample_table(scan: Scan, *, root: Path, workers: int | None = None) -> pd.DataFrame:
    """The sample table of the images in `scan`, sorted by image path.

    Columns: `image`, `mask` (POSIX paths relative to `root`; mask empty for good images), `split` (`train`,
    `validation`, `test`), `label` (0 good, 1 anomalous), `defect`, `width`, `height` (pixels, upright), `sha256`
    (of the image file). Each file is read once, in `workers` threads (default: one per usable core); ignored files
    are logged as one warning.

    Raises `InputError`, naming the files, when an image or mask cannot be read, a mask is of another size than its
    image, or the same image (byte for byte) stands in `test` and in another split.
    """
    _warn_of_ignored(scan, root)
    found = sorted(scan.found, key=lambda sample: _relative(sample.image, root))
    images = [sample.image for sample in found]
    masks = [sample.mask for sample in found if sample.mask is not None]
    _warn_of_lossy_masks(masks)
    with warnings.catch_warnings():  # `reading` has a limit of its own, and an error to go with it
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        measured = _read_all(_measure, images, workers)
        mask_sizes = dict(zip(masks, _read_all(_measure_mask, masks, workers), strict=True))
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
    return table


def data_digest(samples: pd.DataFrame, *, columns: Sequence[str] = _DIGEST_COLUMNS) -> str:
    """sha256 (64 hexadecimal digits) of the rows of a sample table, whatever their order.

    Two tables have the same digest when `columns` hold the same values: by default which images, their bytes,
    their split and label. It says on a detector's card which data it saw.
    """
    rows = sorted(json.dumps([str(value) for value in row]) for row in samples[list(columns)].itertuples(index=False))
    return hashlib.sha256("\n".join([json.dumps(list(columns)), *rows]).encode()).hexdigest()


def name_some(names: Iterable[object], *, most: int = 3) -> str:
    """The first `most` of `names`, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _measure(path: Path) -> tuple[tuple[int, int], str]:
    """((width, height), sha256) of an image file."""
    data = _bytes(path)
    return upright_size(path, data), hashlib.sha256(data).hexdigest()


def _measure_mask(path: Path) -> tuple[int, int]:
    return upright_size(path, _bytes(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): expected a readable image file.") from error


def _read_all(read: Callable[[Path], Result], paths: Sequence[Path], workers: int | None) -> list[Result]:
    """`read` of every path, in order. All unreadable files are found before one error speaks of them."""

    def attempt(path: Path) -> Result | InputError:
        try:
            return read(path)
        except InputError as error:
            return error

    results: list[Result] = []
    errors: list[tuple[Path, InputError]] = []
    with ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="measure") as pool:
        for first in range(0, len(paths), _BLOCK):
            block = paths[first : first + _BLOCK]
            for path, result in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(result, InputError):
                    errors.append((path, result))
                else:
                    results.append(result)
    if len(errors) > 1:
        others = name_some(path for path, _ in errors[1:])
        raise InputError(f"{errors[0][1]} {len(errors)} files cannot be read, also: {others}.") from errors[0][1]
    if errors:
        raise errors[0][1]
    return results


def _check_mask_sizes(
    found: Sequence[Found], sizes: Sequence[tuple[int, int]], mask_sizes: dict[Path, tuple[int, int]]
) -> None:
    wrong = [
        f"{sample.mask} is {_size(mask_sizes[sample.mask])}, its image {sample.image.name} is {_size(size)}"
        for sample, size in zip(found, sizes, strict=True)
        if sample.mask is not None and mask_sizes[sample.mask] != size
    ]
    if wrong:
        raise InputError(
            f"{_count(wrong, 'mask has', 'masks have')} another size than the image: {name_some(wrong)}. "
            "Expected the same width x height (upright, where the photograph's EXIF data turn it)."
        )


def _check_leaks(table: pd.DataFrame, root: Path) -> None:
    """An image of the test split must not stand in another split: its good score would prove nothing."""
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
            f"{name_some(pairs)}. Expected test images that are not trained on: remove one of the two."
        )


def _warn_of_ignored(scan: Scan, root: Path) -> None:
    if scan.ignored:
        names = (f"{_shown(path, root)} ({reason})" for path, reason in sorted(scan.ignored.items()))
        logger.warning("%s not used: %s", _count(scan.ignored, "entry is", "entries are"), name_some(names, most=10))


def _warn_of_lossy_masks(masks: Sequence[Path]) -> None:
    lossy = [mask for mask in masks if mask.suffix.lower() in {".jpg", ".jpeg"}]
    if lossy:
        logger.warning(
            "%s: %s. Compression leaves values above 0 around each region, and all of them count as anomalous; "
            "masks are better stored as PNG.",
            _count(lossy, "mask is a JPEG file", "masks are JPEG files"),
            name_some(lossy),
        )


def _relative(path: Path, root: Path) -> str:
    """POSIX path relative to the data root, as the table holds it."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The file name {name!r} is not valid UTF-8: expected names that can be written into a table, rename it."
        ) from error
    return name


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _count(things: Sequence[object] | dict[Path, str], one: str, many: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else many}"
