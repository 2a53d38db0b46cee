"""Report on a category before training: properties of every file, or the reason why it is left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from discrepancy.data import checks
from discrepancy.data.checks import ERROR, WARNING, Issue
from discrepancy.data.depth import Depth, category_depth
from discrepancy.data.duplicates import near_duplicates
from discrepancy.data.image_stats import THUMBNAIL, MaskStats, image_stats, mask_stats
from discrepancy.data.images import ResizeCrop
from discrepancy.data.layouts import scan_category
from discrepancy.data.reading import pillow_limit_disabled, read_mask, read_photograph
from discrepancy.data.samples import FolderScan, ImageRecord, shown
from discrepancy.data.thread_map import attempt_all
from discrepancy.errors import InputError

EACH: Final = 6
"""Photographs of each kind that are kept to be shown."""
SUSPECTS: Final = 18
PICTURE: Final = 176
"""Longer side of a picture to be shown, px."""

_NUMBERS: Final = ("width", "height", "kilobytes", "mean", "deviation", "dark", "bright")
_OF_MASKS: Final = ("width", "height", "coverage", "kept")


class Thumbnail(NamedTuple):
    """A photograph to be shown: path, short caption, pixels uint8 [h, w, 3], and marked pixels bool [h, w]."""

    name: str
    words: str
    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class DataReport:
    """Contents of a category's folder. Paths are POSIX, relative to the data root.

    Attributes:
        files: one row per image: `image`, `mask`, `split`, `label`, `defect` as in the sample table. `width`,
            `height`, `mode`, `kilobytes`, `sha256`, `mean`, `deviation`, `dark`, `bright` (`image_stats.ImageStats`)
            are missing where it cannot be read. `mask_width`, `mask_height`, `mask_coverage`, `mask_kept`
            (`image_stats.MaskStats`) are missing without a mask.
        problems: `severity` (`error`, `warning`, `note`), `file`, `problem`, `detail`; errors first.
        left_out: `file` (or a whole folder), `reason`: all that is not an image or a mask of the table.
        resize_crop: geometry of the network's input.
        thumbnails: a few photographs of each `<split> <defect>`.
        flagged: photographs with problems, the first of them.
    """

    files: pd.DataFrame
    problems: pd.DataFrame
    left_out: pd.DataFrame
    resize_crop: ResizeCrop
    thumbnails: dict[str, list[Thumbnail]]
    flagged: list[Thumbnail]


@pillow_limit_disabled()
def build_report(
    dataset: str,
    data_root: Path,
    category: str,
    resize_crop: ResizeCrop,
    *,
    bits: int | None = None,
    workers: int | None = None,
) -> DataReport:
    """Examine every file of a category; list what a run would refuse instead of raising an error.

    Every photograph and mask is decoded once; shown photographs and candidates for near-duplicates once more. The
    memory needed is a few kilobytes per file.

    Args:
        dataset: name of the layout.
        data_root: the folder that holds the categories.
        category: name of the part.
        resize_crop: geometry of the network's input.
        bits: number of bits of 16 that the photographs use; by default as their files declare.
        workers: threads; by default one per usable core.

    Raises:
        InputError: data set or category do not exist, or the folders are not those of the layout.
    """
    scan = scan_category(dataset, data_root, category)
    found = sorted(scan.found, key=lambda sample: shown(sample.image, data_root))
    depth = _depth(found, bits, workers)
    stats = _AllStats(found, depth.bits, workers)
    masks = _masks(found, resize_crop, workers)
    files = _table(found, stats, masks, data_root)
    listed = [
        *_scan_problems(scan, data_root),
        *_unreadable(found, stats.errors, masks, data_root),
        *checks.mask_problems(files, resize_crop),
        *checks.mask_copies({shown(path, data_root): mask.digest for path, mask in _measured(masks)}),
        *checks.depth_problems(depth),
        *checks.copies(files),
        *checks.image_problems(files),
        *_near_duplicates(found, files, stats, depth.bits),
        *checks.category_notes(files, resize_crop),
    ]
    return DataReport(
        files=files,
        problems=_ordered(listed),
        left_out=_left_out(scan, data_root),
        resize_crop=resize_crop,
        thumbnails=_thumbnails(found, data_root, depth.bits),
        flagged=_flagged(found, listed, data_root, depth.bits),
    )


def _depth(found: list[ImageRecord], bits: int | None, workers: int | None) -> Depth:
    if bits is not None:
        return Depth(bits, bits, 0)
    train, test = ([one.image for one in found if (one.split == "test") == tested] for tested in (False, True))
    return category_depth(train, test, workers=workers)


class _AllStats:
    """Properties of every photograph, in the order of `found`: columns, because objects would fill the memory.

    Attributes:
        numbers: [N, ...] of `_NUMBERS`, NaN where a photograph cannot be read.
        modes: kinds of pixels; empty where it cannot be read.
        digests: of the files; empty where it cannot be read.
        hashes: perceptual, uint64 [N, 4].
        errors: by row.
        mean: thumbnail of the mean training image.
    """

    def __init__(self, found: list[ImageRecord], bits: int, workers: int | None) -> None:
        self.numbers = np.full((len(found), len(_NUMBERS)), np.nan)
        self.modes, self.digests = [""] * len(found), [""] * len(found)
        self.hashes = np.zeros((len(found), 4), np.uint64)
        self.errors: dict[int, InputError] = {}
        total, count = np.zeros((THUMBNAIL, THUMBNAIL)), 0
        read = partial(image_stats, bits=bits)
        results = attempt_all(read, [sample.image for sample in found], workers=workers, title="photographs")
        for row, (sample, result) in enumerate(zip(found, results, strict=True)):
            if isinstance(result, InputError):
                self.errors[row] = result
                continue
            self.numbers[row] = [getattr(result, name) for name in _NUMBERS]
            self.modes[row], self.digests[row], self.hashes[row] = sys.intern(result.mode), result.sha256, result.hash
            if sample.split == "train":
                total += result.thumbnail
                count += 1
        self.mean = total / max(1, count)


def _masks(
    found: list[ImageRecord], resize_crop: ResizeCrop, workers: int | None
) -> dict[Path, MaskStats | InputError]:
    paths = [sample.mask for sample in found if sample.mask is not None]
    read = partial(mask_stats, resize_crop=resize_crop)
    return dict(zip(paths, attempt_all(read, paths, workers=workers, title="masks"), strict=True))


def _measured(masks: dict[Path, MaskStats | InputError]) -> list[tuple[Path, MaskStats]]:
    return [(path, mask) for path, mask in masks.items() if isinstance(mask, MaskStats)]


def _table(
    found: list[ImageRecord], stats: _AllStats, masks: dict[Path, MaskStats | InputError], root: Path
) -> pd.DataFrame:
    """Return the table of files, column by column."""
    columns: dict[str, Any] = {
        "image": [shown(sample.image, root) for sample in found],
        "mask": [shown(sample.mask, root) if sample.mask else "" for sample in found],
        "split": [sample.split for sample in found],
        "label": [sample.label for sample in found],
        "defect": [sample.defect for sample in found],
        "mode": stats.modes,
        "sha256": stats.digests,
        **{name: stats.numbers[:, column] for column, name in enumerate(_NUMBERS)},
    }
    known = [masks.get(sample.mask) if sample.mask else None for sample in found]
    for name in _OF_MASKS:
        values = (float(getattr(mask, name)) if isinstance(mask, MaskStats) else np.nan for mask in known)
        columns[f"mask_{name}"] = np.fromiter(values, np.float64, len(found))
    return pd.DataFrame(columns)


def _scan_problems(scan: FolderScan, root: Path) -> Iterator[Issue]:
    for path, how in scan.notes.items():
        yield Issue(checks.NOTE, shown(path, root), "another name", how)
    for path, text in scan.faults.items():
        yield Issue(ERROR, shown(path, root), "not clear", text)
    for path, expected in scan.unmasked.items():
        yield Issue(ERROR, shown(path, root), "no mask", expected.replace(f"{root}{os.sep}", ""))
    for path in (path for sample in scan.found for path in (sample.image, sample.mask) if path):
        if "\\" in (name := shown(path, root)) and name != path.relative_to(root).as_posix():
            yield Issue(ERROR, name, "name is not UTF-8", "expected a name that can be written into a table")


def _unreadable(
    found: list[ImageRecord], errors: dict[int, InputError], masks: dict[Path, MaskStats | InputError], root: Path
) -> Iterator[Issue]:
    for row, error in errors.items():
        yield Issue(ERROR, shown(found[row].image, root), "cannot be read", _reason(error, found[row].image))
    for path, result in masks.items():
        if isinstance(result, InputError):
            yield Issue(ERROR, shown(path, root), "mask cannot be read", _reason(result, path))


def _reason(error: InputError, path: Path) -> str:
    """Return the message of an error without the name of the file."""
    return str(error).removeprefix(f"{path} ")


def _near_duplicates(found: list[ImageRecord], files: pd.DataFrame, stats: _AllStats, bits: int) -> Iterator[Issue]:
    readable = [row for row in range(len(found)) if row not in stats.errors]
    known = {stats.digests[row] for row in readable if found[row].split != "test"}
    others = np.array([row for row in readable if found[row].split != "test"], np.intp)
    # Copies byte for byte are named already.
    tests = [row for row in readable if found[row].split == "test" and stats.digests[row] not in known]
    tested = np.array(tests, np.intp)

    def thumbnails(test: int, other: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        one, two = (image_stats(found[row].image, bits=bits).thumbnail for row in (tested[test], others[other]))
        return one, two

    for pair in near_duplicates(stats.hashes[tested], stats.hashes[others], stats.mean, thumbnails):
        name, other = files["image"].iloc[tested[pair.test]], files["image"].iloc[others[pair.other]]
        detail = f"as {other}, which is trained on: correlation {pair.correlation:.2f}"
        yield Issue(WARNING, name, "nearly the same", detail)


def _ordered(listed: list[Issue]) -> pd.DataFrame:
    order = {severity: rank for rank, severity in enumerate((ERROR, WARNING, checks.NOTE))}
    return pd.DataFrame(sorted(listed, key=lambda entry: order[entry.severity]), columns=list(Issue._fields))


def _left_out(scan: FolderScan, root: Path) -> pd.DataFrame:
    reasons = {**scan.unneeded, **scan.ignored}
    rows = sorted((shown(path, root), reason) for path, reason in reasons.items())
    return pd.DataFrame(rows, columns=["file", "reason"])


def _thumbnails(found: list[ImageRecord], root: Path, bits: int) -> dict[str, list[Thumbnail]]:
    kinds: dict[str, list[ImageRecord]] = {}
    for sample in sorted(found, key=lambda sample: (("train", "validation", "test").index(sample.split), sample.label)):
        kinds.setdefault(f"{sample.split} {sample.defect}", []).append(sample)
    chosen = {}
    for kind, samples in kinds.items():
        rows = np.unique(np.linspace(0, len(samples) - 1, EACH).round().astype(int))
        chosen[kind] = [picture for row in rows if (picture := _thumbnail(samples[row], root, "", bits)) is not None]
    return chosen


def _flagged(found: list[ImageRecord], listed: list[Issue], root: Path, bits: int) -> list[Thumbnail]:
    samples = {shown(path, root): sample for sample in found for path in (sample.image, sample.mask) if path}
    words: dict[Path, list[str]] = {}
    for entry in listed:
        if entry.file in samples:
            words.setdefault(samples[entry.file].image, []).append(entry.problem)
    owners = {sample.image: sample for sample in found}
    pictures = (_thumbnail(owners[path], root, ", ".join(dict.fromkeys(said)), bits) for path, said in words.items())
    return [picture for _, picture in zip(range(SUSPECTS), (item for item in pictures if item), strict=False)]


def _thumbnail(sample: ImageRecord, root: Path, words: str, bits: int) -> Thumbnail | None:
    """Return a small copy of a photograph to show; None if it cannot be read."""
    try:
        image = read_photograph(sample.image, bits=bits).convert("RGB")
    except InputError:
        return None
    image.thumbnail((PICTURE, PICTURE), Image.Resampling.BILINEAR)
    mask = None
    try:
        if sample.mask:
            small = Image.fromarray(read_mask(sample.mask)).resize(image.size, Image.Resampling.NEAREST)
            mask = np.asarray(small)
    except InputError:
        words = words or "mask cannot be read"
    return Thumbnail(shown(sample.image, root), words, np.asarray(image), mask)
