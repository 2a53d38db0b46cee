"""A category's photographs: the sample table and the folder that its paths are relative to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from discrepancy.data.data_report import DataReport, build_report
from discrepancy.data.images import ResizeCrop
from discrepancy.data.layouts import read_samples
from discrepancy.demo import render_category

DEMO = "demo"


@dataclass(frozen=True)
class Photographs:
    """Photographs of a category as found on disk, not decoded yet.

    Attributes:
        root: the data root.
        samples: the sample table, splits `train` and `test` (`validation` where the data set has one).
    """

    root: Path
    samples: pd.DataFrame


def open_photographs(dataset: str, category: str, root: Path) -> Photographs:
    """Read a category's sample table; the demo category is rendered first if it is not there yet.

    Raises:
        InputError: a file or name cannot be used; the message names it and the reason.
    """
    if dataset == DEMO:
        render_category(root, category)
    return Photographs(root, read_samples(dataset, root, category))


def report_on_photographs(
    dataset: str, category: str, root: Path, resize_crop: ResizeCrop, *, bits: int | None = None
) -> DataReport:
    """Examine every file of a category, see `data_report.build_report`; the demo category is rendered first.

    Raises:
        InputError: data set or category do not exist, or the folders are not those of the layout.
    """
    if dataset == DEMO:
        render_category(root, category)
    return build_report(dataset, root, category, resize_crop, bits=bits)
