"""A folder of synthetic photographs under any light, of other parts than those of the rendered categories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from discrepancy.atomic import UNFINISHED, claimed, delete_leftovers
from discrepancy.demo.dataset import CATEGORIES, STAMP, check_numbers, part_of, save, seeds_of, turns
from discrepancy.demo.light import USUAL, Light
from discrepancy.demo.part import Part
from discrepancy.demo.picture import take
from discrepancy.errors import InputError


def render_photographs(
    folder: Path | str,
    category: str,
    *,
    count: int = 60,
    seed: int = 0,
    size: int = 256,
    light: Light = USUAL,
    defective: bool = False,
) -> Path:
    """Render synthetic photographs of a category's part into a folder, and return the folder.

    `<folder>/good` holds `count` RGB photographs `NNN.png` of `size` x `size` pixels. With `defective`,
    `<folder>/defective` holds as many again, `<defect>_NNN.png`; the kinds of defects take turns. There are no masks.

    The parts depend on `seed` and on a photograph's path only: they are the same under every light. No seed gives
    those of `render_category`. A progress bar is shown on a terminal. The folder appears complete or not at all.

    Args:
        folder: one that does not exist, or is empty.
        category: name of the demo category.
        count: number of good photographs, at least 1.
        seed: draws the parts, at least 0.
        size: height and width, px; at least 32.
        light: lamp and camera of all photographs.
        defective: render defective parts too.

    Raises:
        InputError: the category does not exist, a number is out of range, the folder is a file or not empty, or it
            lies among rendered categories.
    """
    part = part_of(category)
    check_numbers({"count": count, "seed": seed, "size": size})
    # Nothing can be renamed into the place of "." or of a link.
    target = Path(folder).resolve()
    _check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    delete_leftovers(target.parent)
    note = PngInfo()
    note.add_text("Description", f"Synthetic image, rendered by discrepancy: {category}")
    plan = list(_plan(part, count, defective))
    with claimed(target.with_name(UNFINISHED)) as scratch:
        for path, defect in tqdm(plan, desc="rendering", unit="photograph", disable=None):
            # Paths in a category begin with train/ or test/, so their seeds are others.
            picture = take(part, seeds_of(seed, f"{category}/{path}"), size, defect, light=light)
            save(picture.image, scratch / "new" / f"{path}.png", note)
        _check_free(target)
        (scratch / "new").rename(target)
    return Path(folder)


def _check_free(target: Path) -> None:
    """Refuse a folder with content, and one among rendered categories, which have to be alone in their root."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        found = "not empty" if target.is_dir() else "a file"
        raise InputError(f"{target} is {found}; expected a folder that does not exist, or is empty.")
    rendered = [*target.parents, *(target.parent / category for category in CATEGORIES)]
    if any(os.path.isfile(place / STAMP) for place in rendered):
        raise InputError(f"{target} lies among the demo's rendered categories; expected a folder elsewhere.")


def _plan(part: Part[Any], count: int, defective: bool) -> Iterator[tuple[str, str | None]]:
    """Yield path, without suffix, and defect of every photograph."""
    yield from ((f"good/{number:03d}", None) for number in range(count))
    if defective:
        yield from ((f"defective/{kind}_{number:03d}", kind) for number, kind in turns(part, count))
