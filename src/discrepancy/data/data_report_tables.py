"""Tables of the data report: numbers of images per kind, image sizes, and mask coverage."""

from __future__ import annotations

import pandas as pd

from discrepancy.data.data_report import DataReport

_SPLITS = {split: rank for rank, split in enumerate(("train", "validation", "test"))}


def counts(report: DataReport) -> pd.DataFrame:
    """Return one line per split and defect: `split`, `defect`, `images`, `masks`, `megabytes`."""
    files = report.files.assign(masks=report.files["mask"] != "", megabytes=report.files["kilobytes"] / 1024)
    groups = files.groupby(["split", "label", "defect"], sort=True)
    table = groups.agg(images=("image", "size"), masks=("masks", "sum"), megabytes=("megabytes", "sum")).reset_index()
    order = table.assign(_rank=table["split"].map(_SPLITS)).sort_values(["_rank", "label", "defect"]).index
    return table.loc[order, ["split", "defect", "images", "masks", "megabytes"]].reset_index(drop=True)


def kinds(report: DataReport) -> pd.DataFrame:
    """Return one line per size and mode, the most common first: `width`, `height`, `mode`, `images`."""
    known = report.files[report.files["width"].notna()]
    table = known.astype({"width": int, "height": int}).groupby(["width", "height", "mode"]).size()
    return table.rename("images").reset_index().sort_values("images", ascending=False, ignore_index=True)


def coverage(report: DataReport) -> pd.DataFrame:
    """Return one line per defect with masks: `defect`, `masks`, and the marked share `least`, `median`, `most`.

    `lost` counts masks that are empty at the size (and crop) of the network's input.
    """
    masked = report.files[report.files["mask_coverage"].notna()].assign(lost=1 - report.files["mask_kept"])
    groups = masked.groupby("defect", sort=True)
    table = groups["mask_coverage"].agg(masks="size", least="min", median="median", most="max")
    return table.assign(lost=groups["lost"].sum().astype(int)).reset_index()
