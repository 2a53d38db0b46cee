"""Rendered categories on disk in MVTec AD's layout, written completely or not at all."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from discrepancy.atomic import UNFINISHED, claimed, delete_leftovers
from discrepancy.data.layouts.files import visible
from discrepancy.demo.cable_defects import CABLE
from discrepancy.demo.gear_defects import GEAR
from discrepancy.demo.part import Part
from discrepancy.demo.picture import take
from discrepancy.demo.weave_defects import WEAVE
from discrepancy.errors import InputError
from discrepancy.json_files import read_object

VERSION = 1
"""Raise it whenever a picture changes: data sets on disk that an older renderer made are then rendered anew."""
STAMP = ".rendered.json"
PARTS: dict[str, Part[Any]] = {"cable": CABLE, "gear": GEAR, "weave": WEAVE}
CATEGORIES: tuple[str, ...] = tuple(PARTS)
LEAST = {"seed": 0, "size": 32, "train": 1, "test_good": 0, "test_defective": 0, "count": 1}
"""The least value of each number that a user gives."""
YOUR_OWN = "For photographs of your own: dataset=folder, or the name of the public data set."

logger = logging.getLogger(__name__)


def render_category(
    root: Path,
    category: str,
    *,
    seed: int = 0,
    size: int = 256,
    train: int = 60,
    test_good: int = 20,
    test_defective: int = 40,
) -> Path:
    """Render a synthetic category into `<root>/<category>` and return that folder; do nothing if it is up to date.

    The layout is MVTec AD's: `train/good`, `test/good`, `test/<defect>` hold RGB photographs `NNN.png` of
    `size` x `size` pixels, `ground_truth/<defect>` a mask `NNN_mask.png` (grey, 0 or 255) for each defective one.
    The kinds of defects take turns, so each gets its share of `test_defective`.

    The same arguments give the same pictures; a picture depends on `seed`, `size` and its own path only, never on the
    counts. The folder appears complete or not at all. A folder that other settings or an older renderer made is
    replaced; one that was not rendered is never touched.

    Raises:
        InputError: the category does not exist, a number is out of range, or `root` holds other files.
    """
    part_of(category)
    wanted: dict[str, Any] = {
        "seed": seed,
        "size": size,
        "train": train,
        "test_good": test_good,
        "test_defective": test_defective,
    }
    check_numbers(wanted)
    wanted = {"version": VERSION, "category": category, **wanted}
    target = Path(root) / category
    if _stamp(target) == wanted:
        return target
    check_root(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers(target.parent)
    logger.info("Rendering the synthetic category %s into %s", category, target)
    with claimed(target.with_name(UNFINISHED)) as scratch:
        fresh = scratch / "new"
        _render(fresh, category, wanted)
        (fresh / STAMP).write_text(json.dumps(wanted, indent=2) + "\n")
        _put(fresh, target, scratch / "old", wanted)
    return target


def check_root(root: Path) -> None:
    """Refuse a folder that holds anything besides rendered categories.

    Raises:
        InputError: the folder holds a file or folder that was not rendered, or is a file.
    """
    if not root.exists():
        return
    for entry in visible(root):
        if not (entry / STAMP).is_file():
            raise InputError(
                f"{entry} was not rendered (it has no {STAMP}); expected {root} to be a folder of the demo's own: move "
                f"it away, or give another data_root. {YOUR_OWN}"
            )


def part_of(category: str) -> Part[Any]:
    """Return the part that a demo category shows.

    Raises:
        InputError: the category does not exist; the message names those that do.
    """
    if category not in PARTS:
        raise InputError(
            f"There is no demo category {category!r}; the ones that exist are {', '.join(CATEGORIES)}. {YOUR_OWN}"
        )
    return PARTS[category]


def check_numbers(wanted: dict[str, Any]) -> None:
    """Refuse a number that is out of range.

    Raises:
        InputError: the message names it, and the least value.
    """
    for name, value in wanted.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < LEAST[name]:
            raise InputError(f"{name} is {value!r}; expected a whole number of at least {LEAST[name]}.")


def turns(part: Part[Any], count: int) -> Iterator[tuple[int, str]]:
    """Yield number and kind of each of `count` defects: the kinds take turns."""
    kinds = tuple(part.defects)
    for k in range(count):
        number, kind = divmod(k, len(kinds))
        yield number, kinds[kind]


def seeds_of(seed: int, path: str) -> np.random.SeedSequence:
    """Return the seeds of one picture; its path keeps it apart from all others of the same `seed`."""
    return np.random.SeedSequence([seed, zlib.crc32(path.encode())])


def save(pixels: NDArray[np.uint8], path: Path, note: PngInfo | None = None) -> None:
    """Write a PNG file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Sensor noise hardly compresses: a higher level costs time and saves nothing.
    Image.fromarray(pixels).save(path, compress_level=1, pnginfo=note)


def _stamp(folder: Path) -> Any:
    """Return the description that a rendered folder holds of itself; None if it is missing or unreadable."""
    try:
        return read_object(folder / STAMP)
    except InputError:
        return None


def _plan(part: Part[Any], wanted: dict[str, Any]) -> Iterator[tuple[str, int, str | None]]:
    """Return folder, number and defect of every picture."""
    yield from (("train/good", number, None) for number in range(wanted["train"]))
    yield from (("test/good", number, None) for number in range(wanted["test_good"]))
    yield from ((f"test/{kind}", number, kind) for number, kind in turns(part, wanted["test_defective"]))


def _render(folder: Path, category: str, wanted: dict[str, Any]) -> None:
    part = PARTS[category]
    for place, number, defect in _plan(part, wanted):
        picture = take(part, seeds_of(wanted["seed"], f"{category}/{place}/{number:03d}"), wanted["size"], defect)
        save(picture.image, folder / place / f"{number:03d}.png")
        if picture.mask is not None:
            mask = np.where(picture.mask, 255, 0).astype(np.uint8)
            save(mask, folder / "ground_truth" / str(defect) / f"{number:03d}_mask.png")


def _put(fresh: Path, target: Path, old: Path, wanted: dict[str, Any]) -> None:
    """Rename the complete folder into its place; an outdated one goes to `old`."""
    if target.exists() and _stamp(target) != wanted:
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        # Another process may have rendered the same category meanwhile: then its folder is as good.
        if _stamp(target) != wanted:
            raise
