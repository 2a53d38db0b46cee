"""Categories of a data set's folder, and the number of images in each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from discrepancy.data.layouts import LAYOUTS
from discrepancy.data.layouts.files import visible
from discrepancy.errors import InputError


def inventory(dataset: str, root: Path) -> dict[str, dict[str, int]]:
    """Count images by split (`train`, `validation`, `test`), by category, sorted by name. No image is opened.

    Raises:
        InputError: there is no category, or one is not laid out as it should be.
    """
    layout = LAYOUTS[dataset]
    folders = [entry for entry in visible(root) if entry.is_dir() and layout.holds(entry)]
    if not folders:
        raise InputError(f"no folder in it holds {layout.marker}: expected one folder for each category")
    return {folder.name: _images(dataset, folder) for folder in folders}


def _images(dataset: str, folder: Path) -> dict[str, int]:
    counts = Counter(sample.split for sample in LAYOUTS[dataset].scan(folder).found)
    return {split: counts[split] for split in ("train", "validation", "test") if counts[split]}
