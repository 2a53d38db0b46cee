"""A category's photographs: the sample table and the folder that its paths are relative to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discrepancy.data.data_report import DataReport, build_report
from discrepancy.data.images import ImageSize, ResizeCrop, decode_image
from discrepancy.data.layouts import read_samples
from discrepancy.demo import render_category
from discrepancy.errors import InputError

DEMO = "demo"


@dataclass(frozen=True)
class Photographs:
    """What was found on disk; no picture is decoded yet.

    Attributes:
        root: the data root.
        samples: the sample table, splits `train` and `test` (`validation` where the data set has one).
    """

    root: Path
    samples: pd.DataFrame


def open_photographs(dataset: str, category: str, root: Path) -> Photographs:
    """Read a category's sample table; the demo category is rendered first if it is not there yet.

    Raises:
        InputError: what is wrong with which file or name.
    """
    if dataset == DEMO:
        render_category(root, category)
    return Photographs(root, read_samples(dataset, root, category))


def report_on_photographs(
    dataset: str, category: str, root: Path, resize_crop: ResizeCrop, *, bits: int | None = None
) -> DataReport:
    """Look at every file of a category, see `data_report.build_report`; the demo category is rendered first.

    Raises:
        InputError: data set or category do not exist, or the folders are not those of the layout.
    """
    if dataset == DEMO:
        render_category(root, category)
    return build_report(dataset, root, category, resize_crop, bits=bits)


class ImageFolder(Sequence[NDArray[np.uint8]]):
    """Every image below a folder, decoded when asked for: uint8 [3, H, W].

    Args:
        folder: searched with its subfolders.
        size: height and width to resize to, px.

    Raises:
        InputError: no such folder, or no image in it.
    """

    SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

    def __init__(self, folder: Path, size: ImageSize) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected a folder of images to blend in")
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in self.SUFFIXES)
        if not self.paths:
            raise InputError(f"{folder}: holds no image; expected files ending in {', '.join(self.SUFFIXES)}")
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # slices are not offered
        return decode_image(self.paths[index], self.size)
