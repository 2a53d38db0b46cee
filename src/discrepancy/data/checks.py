"""Checks of a category's photographs and masks; every issue names its file.

An `error` stops a run, a `warning` deserves attention, a `note` concerns the whole category.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from discrepancy.data.depth import Depth
from discrepancy.data.images import ResizeCrop

ERROR: Final = "error"
WARNING: Final = "warning"
NOTE: Final = "note"

BLANK_DEVIATION: Final = 2.0
"""Standard deviation of the grey levels below which an image counts as blank."""
SATURATED: Final = 0.5
"""Share of pixels at one end of the scale from which an image is saturated, if it also exceeds the median:"""
UNUSUAL_SHARE: Final = 0.25
"""... by this share."""
BRIGHTNESS: Final = (25.0, 8.0)
"""An unusual mean grey level: so many levels, and so many standard deviations (by the median deviation), off."""
RARE: Final = 0.05
"""Share of images of another size or mode below which they are reported."""
MOSTLY_MARKED: Final = 0.5
"""Marked share of a mask from which black and white may be swapped."""
FEW: Final = 20
"""Number of good training images below which thresholds and models are imprecise."""
STRETCHED: Final = 1.1
"""Change of the aspect ratio from which it is reported."""


class Issue(NamedTuple):
    """An issue and the file concerned; the file is empty if the issue concerns the whole category."""

    severity: str
    file: str
    problem: str
    detail: str


def image_problems(files: pd.DataFrame) -> Iterator[Issue]:
    """Yield issues of images: empty, saturated, or unlike the others in brightness, size or mode.

    `files` has one row per image, see `data_report.DataReport`; rows of unreadable images are skipped.
    """
    readable = files[files["mean"].notna()]
    if readable.empty:
        return
    named = blank = readable["deviation"] < BLANK_DEVIATION  # one issue per image is enough
    for image in readable[blank].to_dict("records"):
        levels = f"grey level {image['mean']:.0f}, standard deviation {image['deviation']:.1f}"
        yield Issue(WARNING, image["image"], "blank", f"{levels}: expected a photograph of a part")
    for end, words in (("dark", "black"), ("bright", "white")):
        usual = float(readable[end].median())
        saturated = readable[end] > max(SATURATED, usual + UNUSUAL_SHARE)
        for image in readable[saturated & ~blank].to_dict("records"):
            shares = f"{image[end]:.0%} of the pixels are {words}, {usual:.0%} in the usual image"
            yield Issue(WARNING, image["image"], "saturated", shares)
        named = named | saturated
    centre = float(readable["mean"].median())
    off = (readable["mean"] - centre).abs()
    unusual = off > max(BRIGHTNESS[0], BRIGHTNESS[1] * 1.4826 * float(off.median()))
    for image in readable[unusual & ~named].to_dict("records"):
        levels = f"mean grey level {image['mean']:.0f}, {centre:.0f} in the usual image"
        yield Issue(WARNING, image["image"], "unusual brightness", levels)
    sizes = readable["width"].astype(int).astype(str) + " x " + readable["height"].astype(int).astype(str)
    yield from _odd_ones(readable["image"], sizes, "unusual size")
    yield from _odd_ones(readable["image"], readable["mode"], "unusual kind of pixels")


def _odd_ones(names: pd.Series, values: pd.Series, problem: str) -> Iterator[Issue]:
    """Yield issues of the few rows whose value differs from that of most."""
    counts = values.value_counts()
    if counts.iloc[0] < len(values) / 2:
        return
    rare = counts.index[counts <= max(1, RARE * len(values))].difference(counts.index[:1])
    for name, value in zip(names[values.isin(rare)], values[values.isin(rare)], strict=True):
        yield Issue(WARNING, name, problem, f"{value}, most are {counts.index[0]}")


def mask_problems(files: pd.DataFrame, resize_crop: ResizeCrop) -> Iterator[Issue]:
    """Yield issues of masks: of another size than the image, empty, nearly full, or empty after resizing."""
    height, width = resize_crop.size
    masked = files[files["mask_coverage"].notna()]
    for mask, image in zip(masked["mask"], masked.to_dict("records"), strict=True):
        sizes = [f"{image[f'{of}width']:.0f} x {image[f'{of}height']:.0f}" for of in ("mask_", "")]
        if not np.isnan(image["width"]) and sizes[0] != sizes[1]:
            yield Issue(ERROR, mask, "mask of another size", f"{sizes[0]}, its image is {sizes[1]}")
        if image["mask_coverage"] == 0:
            yield Issue(WARNING, mask, "empty mask", "marks nothing; its image counts as defective all the same")
        elif not image["mask_kept"]:
            cropped = f" (the centre of {resize_crop.resized[0]}x{resize_crop.resized[1]})" if resize_crop.crop else ""
            wider = "crop, or none" if resize_crop.crop else "image_size"
            lost = f"none of its pixels is left at {height}x{width}{cropped}: expected a larger {wider}"
            yield Issue(WARNING, mask, "defect lost", lost)
        elif image["mask_coverage"] > MOSTLY_MARKED:
            share = f"marks {image['mask_coverage']:.0%} of the image: expected black for good, white for the defect"
            yield Issue(WARNING, mask, "mask marks most of it", share)
        if mask.lower().endswith((".jpg", ".jpeg")):
            lossy = "values above 0 around each region count as anomalous: expected PNG"
            yield Issue(WARNING, mask, "lossy mask", lossy)


def mask_copies(digests: Mapping[str, str]) -> Iterator[Issue]:
    """Yield issues of masks that mark the same pixels as several others.

    `digests` (see `image_stats.MaskStats`) are given by the mask's name.
    """
    alike: dict[str, list[str]] = {}
    for name, digest in digests.items():
        if digest:
            alike.setdefault(digest, []).append(name)
    for first, *others in alike.values():
        if len(others) > 1:  # two may be of one photograph, saved twice
            words = f"marks the same pixels as {len(others)} others: expected each image's own"
            yield Issue(WARNING, first, "the same mask", words)


def depth_problems(depth: Depth) -> Iterator[Issue]:
    """Yield issues of values that look as if fewer bits are used than assumed."""
    if depth.doubt:
        yield Issue(WARNING, "", f"{depth.used} bits in {depth.bits}", depth.doubt)


def copies(files: pd.DataFrame) -> Iterator[Issue]:
    """Yield issues of images that occur twice, byte for byte."""
    known = files[files["sha256"] != ""]
    for _, group in known[known.duplicated("sha256", keep=False)].groupby("sha256", sort=False):
        # An image that is trained on comes first, so that the test's is the one that is named as the copy.
        ordered = group.assign(_test=group["split"] == "test").sort_values(["_test", "image"])
        first, others = ordered.iloc[0], ordered.iloc[1:]
        for name, split, label in zip(others["image"], others["split"], others["label"], strict=True):
            leaks = split == "test" and first["split"] != "test"
            kind = "in training and in test" if leaks else "good and defective" if label != first["label"] else "a copy"
            yield Issue(ERROR if leaks else WARNING, name, kind, f"the same bytes as {first['image']}")


def category_notes(files: pd.DataFrame, resize_crop: ResizeCrop) -> Iterator[Issue]:
    """Yield notes on the category as a whole."""
    good = int(((files["split"] == "train") & (files["label"] == 0)).sum())
    if good < FEW:
        yield Issue(NOTE, "", "few good images", f"{good} to train on: expected {FEW} at least, better hundreds")
    tested = files[files["split"] == "test"]
    for label, words in ((0, "good"), (1, "defective")):
        if not (tested["label"] == label).any():
            yield Issue(NOTE, "", f"no {words} test images", "AUROC and AUPRO are not defined without any")
    bad = files[files["label"] == 1]
    if len(bad) and (bad["mask"] == "").all():
        yield Issue(NOTE, "", "no masks", "metrics of images only")
    yield from _shape_note(files, resize_crop)


def _shape_note(files: pd.DataFrame, resize_crop: ResizeCrop) -> Iterator[Issue]:
    known = files[files["width"].notna()]
    if known.empty:
        return
    height, width = resize_crop.resized
    wanted = float((known["height"] / known["width"]).median())  # height by width of the usual photograph
    change = max(wanted * width / height, height / (wanted * width))
    if change > STRETCHED:
        side = min(height, width)
        kept = [round(side * stretch / 8) * 8 for stretch in (max(1.0, wanted), max(1.0, 1 / wanted))]
        words = f"resized to {height}x{width}, photographs change their shape by a factor of {change:.2f}"
        yield Issue(NOTE, "", "shape changes", f"{words}; image_size={kept[0]}x{kept[1]} keeps it")
