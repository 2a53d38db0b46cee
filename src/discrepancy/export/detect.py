#!/usr/bin/env python3
"""Find defective parts on photographs with the detector that lies beside this file.

Needs Python 3.11 and the packages of requirements.txt: onnxruntime, numpy and pillow. Run `python detect.py --help`.
"""

# This file is the same in the package and in every bundle, so it imports nothing of the package.

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import os
import signal
import struct
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError

FORMAT = 1
"""Version of bundles."""
GRAPH, CARD = "model.onnx", "card.json"
COLUMNS = (
    "file", "score", "threshold", "relative_score", "false_alarm_probability", "decision", "regions", "largest_region",
    "seconds", "reason",
)  # fmt: skip
"""Columns of the table. `relative_score` is score / threshold, `largest_region` an area in px."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485
"""Larger photographs are refused unopened."""
LONGEST = 65_500
"""Longest side of a photograph, px: that of JPEG files."""
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
OUTLINE = (213, 94, 0)
"""Colour of outlines, RGB."""
POLL = 0.25
"""Seconds between two looks at a watched folder."""
PATIENCE = 10.0
"""Seconds after which a file that has not changed and still cannot be read counts as unreadable."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Map = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class InputError(ValueError):
    """A photograph or a bundle is not as expected."""


class NotAnImage(InputError):
    """A file is of no kind of image that is read."""


class Region(NamedTuple):
    """Connected outlined pixels, also across corners: bounding box and area in px, and the highest anomaly."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float


@dataclass(frozen=True)
class Rule:
    """Rule of the outlines: regions of the smoothed map above `low` that reach `high` and are large enough.

    Attributes:
        high: a region's peak is above it.
        low: all of a region's pixels are above it.
        sigma: of the Gaussian that smooths the map, px.
        smallest: number of pixels of the smallest region.
        anomalous_only: a part that passes has no region.
    """

    high: float
    low: float
    sigma: float
    smallest: int
    anomalous_only: bool

    def level(self, anomaly_map: Map, *, anomalous: bool) -> Map:
        """Return the smoothed map [H, W], below `low` outside the regions."""
        values = smoothed(anomaly_map, self.sigma)
        below = np.float32(self.low - 1e-4 * max(abs(self.low), self.high - self.low))
        return np.where(self._regions(values, anomalous), values, np.minimum(values, below))

    def _regions(self, values: Map, anomalous: bool) -> Mask:
        above = values > self.low
        if (self.anomalous_only and not anomalous) or not above.any():
            return np.zeros_like(above)
        if not self.anomalous_only and self.high == self.low and self.smallest <= 1:
            return above
        runs = Runs.of(above)
        peaks, areas = runs.peaks(values), runs.areas()
        kept = (peaks > self.high) & (areas >= self.smallest)
        if self.anomalous_only:
            kept[peaks.argmax()] = True  # something is wrong with this part: show where most of all
        return runs.mask(kept)


@dataclass(frozen=True)
class Runs:
    """Runs of True in the rows of a mask, and the region, 8-connected, that each belongs to."""

    shape: tuple[int, ...]
    rows: np.ndarray[Any, Any]
    starts: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]
    regions: np.ndarray[Any, Any]

    @classmethod
    def of(cls, mask: Mask) -> Runs:
        """Find the runs of a mask [h, w] and join those that touch."""
        steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(steps == 1)
        ends = np.nonzero(steps == -1)[1]
        span = mask.shape[1] + 2
        below = (rows + 1) * span
        first = np.searchsorted(rows * span + ends, below + starts, side="left")
        last = np.searchsorted(rows * span + starts, below + ends, side="right")
        parents = list(range(len(rows)))

        def root(run: int) -> int:
            while parents[run] != run:
                parents[run] = parents[parents[run]]
                run = parents[run]
            return run

        for run in np.flatnonzero(last > first):
            for other in range(first[run], last[run]):
                parents[root(other)] = root(int(run))
        _, regions = np.unique([root(run) for run in range(len(rows))], return_inverse=True)
        return cls(mask.shape, rows, starts, ends, regions)

    def areas(self) -> np.ndarray[Any, Any]:
        """Return the number of pixels of each region."""
        return np.bincount(self.regions, self.ends - self.starts).astype(int)

    def peaks(self, values: Map) -> Map:
        """Return the highest of the values [h, w] in each region."""
        flat = np.append(values.ravel(), np.float32(-np.inf))  # the last run may end where the array does
        edges = np.stack([self.starts, self.ends], 1) + (self.rows * self.shape[1])[:, None]
        highest = np.maximum.reduceat(flat, edges.ravel())[::2]
        found = np.full(int(self.regions.max()) + 1, -np.inf, np.float32)
        np.maximum.at(found, self.regions, highest)
        return found

    def mask(self, kept: Mask) -> Mask:
        """Return the pixels of the regions that are kept."""
        mask = np.zeros(self.shape, bool)
        for run in np.flatnonzero(kept[self.regions]):
            mask[self.rows[run], self.starts[run] : self.ends[run]] = True
        return mask

    def found(self, values: Map) -> list[Region]:
        """Return the regions with the highest of the values [h, w] in each, the highest first."""
        count = int(self.regions.max()) + 1
        boxes = np.full((4, count), np.iinfo(np.int64).max)
        for line, edge in zip(boxes, (self.starts, self.rows, -self.ends, -self.rows - 1), strict=True):
            np.minimum.at(line, self.regions, edge)
        left, top, right, bottom = boxes
        sides = zip(left, top, -right - left, -bottom - top, self.areas(), self.peaks(values), strict=True)
        regions = [Region(*(int(side) for side in box), float(peak)) for *box, peak in sides]  # type: ignore[call-arg]
        return sorted(regions, key=lambda region: -region.peak)


@dataclass(frozen=True)
class Result:
    """Result for one photograph.

    Attributes:
        name: of the photograph.
        score: higher = more anomalous.
        threshold: photographs with a higher score are anomalous.
        false_alarm_probability: share of good parts that are expected to score at least so high; NaN: not known.
        seconds: that the graph took for it, its share of a batch.
        small_map: anomaly map of the detector's size, float32 [H, W].
        size: (height, width) of the photograph, px.
        bundle: the detector.
    """

    name: str
    score: float
    threshold: float
    false_alarm_probability: float
    seconds: float
    small_map: Map
    size: tuple[int, int]
    bundle: Bundle

    @property
    def anomalous(self) -> bool:
        """True if the score is above the threshold."""
        return self.score > self.threshold

    @property
    def map(self) -> Map:
        """Anomaly map of the photograph's size, float32 [h, w]."""
        return self.bundle.at_original_size(self.small_map, self.size)

    @cached_property
    def mask(self) -> Mask:
        """Outlined pixels, bool [h, w]."""
        rule = self.bundle.rule
        if rule.anomalous_only and not self.anomalous:
            return np.zeros(self.size, bool)
        level = rule.level(self.small_map, anomalous=self.anomalous)
        return self.bundle.at_original_size(level, self.size) > rule.low

    @cached_property
    def regions(self) -> list[Region]:
        """Outlined regions, the highest peak first."""
        return Runs.of(self.mask).found(self.map) if self.mask.any() else []

    def line(self) -> dict[str, str | float | int]:
        """Return the line of the table, by column."""
        relative = self.score / self.threshold if self.threshold else math.nan
        known: dict[str, str | float | int] = {
            "file": self.name,
            "score": self.score,
            "threshold": self.threshold,
            "relative_score": float(f"{relative:.4g}"),
            "false_alarm_probability": float(f"{self.false_alarm_probability:.4g}"),
            "decision": "anomalous" if self.anomalous else "good",
            "regions": len(self.regions),
            "largest_region": max((region.area for region in self.regions), default=0),
            "seconds": round(self.seconds, 4),
            "reason": "",
        }
        return {name: value for name, value in known.items() if value == value}  # noqa: PLR0124 (leaves out NaN)

    def overlay(self, photograph: Image.Image) -> Image.Image:
        """Draw the outlines over the photograph."""
        pixels = np.array(photograph.convert("RGB"))
        if self.mask.any():
            reach = max(2, min(self.size) // 200) // 2
            padded = np.pad(self.mask, 1)
            inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
            pixels[_thickened(_thickened(self.mask & ~inside, reach).T, reach).T] = OUTLINE
        return Image.fromarray(pixels)


@dataclass(frozen=True)
class Unreadable:
    """A photograph that could not be examined, and why."""

    name: str
    reason: str

    def line(self) -> dict[str, str | float | int]:
        """Return the line of the table, by column."""
        return {"file": self.name, "decision": "unreadable", "reason": self.reason}


class Bundle:
    """A detector without PyTorch: an ONNX graph and its card.

    Args:
        folder: of the bundle.
        threads: of ONNX Runtime; 0: one per core.

    Raises:
        InputError: a file is missing or damaged, or of a later version.
    """

    def __init__(self, folder: Path | str, *, threads: int = 0) -> None:
        folder = Path(folder)
        self.card = _read_card(folder / CARD)
        graph = _read(folder / GRAPH, "the files of a bundle")
        if hashlib.sha256(graph).hexdigest() != self._about["sha256"]:
            raise InputError(f"{folder / GRAPH}: not the graph that {CARD} describes; expected the files of one bundle")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.threshold = float(self.card["thresholds"]["image"]["value"])

    @property
    def _about(self) -> Mapping[str, Any]:
        about: Mapping[str, Any] = self.card["bundle"]
        return about

    @cached_property
    def rule(self) -> Rule:
        """Rule of the outlines."""
        return Rule(**self._about["segmentation"])

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the graph's images, px."""
        height, width = self.card["image_size"]
        return height, width

    @cached_property
    def resized(self) -> tuple[int, int]:
        """(height, width) that photographs are resized to, px; the images are the centre of that."""
        height, width = self.card.get("preprocessing", {}).get("resized_to") or self.image_size
        return height, width

    @property
    def bits(self) -> int | None:
        """Number of bits that 16-bit photographs use; None: as each file declares."""
        bits: int | None = self.card.get("preprocessing", {}).get("bit_depth")
        return bits

    @property
    def title(self) -> str:
        """Method and part."""
        part = "/".join(filter(None, (self.card.get("dataset"), self.card.get("category"))))
        return f"{self._about['title']} for {part}" if part else str(self._about["title"])

    def read(self, data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Decode a photograph, see `read_photograph`, with as many bits as those of the training."""
        return read_photograph(data, name, self.bits, max_pixels=max_pixels)

    def fitted(self, photograph: Image.Image) -> Pixels:
        """Resize and crop a photograph: uint8 [3, H, W]."""
        return resized(photograph, self.resized)[self._centre].transpose(2, 0, 1)

    @property
    def _centre(self) -> tuple[slice, slice]:
        """Rows and columns of the images in the resized photograph."""
        return tuple(  # type: ignore[return-value]
            slice((whole - part) // 2, (whole - part) // 2 + part)
            for whole, part in zip(self.resized, self.image_size, strict=True)
        )

    def score(self, images: Pixels) -> tuple[Map, Map]:
        """Return anomaly maps float32 [N, H, W] and scores float32 [N] of images uint8 [N, 3, H, W], RGB."""
        maps, scores = self._session.run(["maps", "scores"], {"images": np.ascontiguousarray(images)})
        return maps, scores

    def false_alarm_probability(self, score: float) -> float:
        """Return the share of good parts that are expected to score at least so high; NaN: not known."""
        table = self._about.get("false_alarms")
        if not table:
            return math.nan
        return float(np.exp(np.interp(score, table["scores"], np.log(table["probabilities"]))))

    def at_original_size(self, values: Map, size: tuple[int, int]) -> Map:
        """Resize a map [H, W] to a photograph's (height, width); what a crop left out gets the map's lowest value."""
        whole = values
        if self.resized != self.image_size:
            whole = np.full(self.resized, values.min(), np.float32)
            whole[self._centre] = values
        shrinks = size[0] < whole.shape[0] and size[1] < whole.shape[1]
        resize = _by_area if shrinks else _bilinear
        return np.ascontiguousarray(resize(resize(whole, size[0]).T, size[1]).T)

    def results(
        self, names: Sequence[str], photographs: Sequence[Image.Image], images: Pixels | None = None
    ) -> list[Result]:
        """Examine photographs.

        Args:
            names: of the photographs.
            photographs: upright, see `read_photograph`.
            images: the same, resized, uint8 [N, 3, H, W], if they are there.
        """
        if images is None:
            images = np.stack([self.fitted(photograph) for photograph in photographs])
        start = time.perf_counter()
        maps, scores = self.score(images)
        seconds = (time.perf_counter() - start) / len(images)
        return [
            self.result(name, photograph.size[::-1], small_map, float(score), seconds)
            for name, photograph, small_map, score in zip(names, photographs, maps, scores, strict=True)
        ]

    def result(self, name: str, size: tuple[int, int], small_map: Map, score: float, seconds: float) -> Result:
        """Return the result for a photograph of this (height, width), given what `score` returns of it."""
        likely = self.false_alarm_probability(score)
        return Result(name, score, self.threshold, likely, seconds, small_map, size, self)


def _read(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {expected}") from error


def _read_card(path: Path) -> dict[str, Any]:
    content = _read(path, "the files of a bundle")
    try:
        card = dict(json.loads(content))
        about = card["bundle"]
        found = int(about["format"])
        _ = Rule(**about["segmentation"]), float(card["thresholds"]["image"]["value"]), str(about["sha256"])
        height, width = card["image_size"]
        _ = int(height), int(width), str(about["title"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the card of a bundle ({error!r})") from error
    if found > FORMAT:
        raise InputError(f"{path}: a bundle of version {found}; expected {FORMAT}, that of this program")
    return card


def resized(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """Resize an image to (height, width), bilinearly with antialiasing: uint8 [height, width, 3].

    The numbers are those of PyTorch's kernel for bytes, to the last bit: weights in whole numbers, and rounding.
    Pillow's differ by single grey levels, which some detectors see.
    """
    columns = _resized_rows(np.asarray(image.convert("RGB")).swapaxes(0, 1), size[1])
    return _resized_rows(columns.swapaxes(0, 1), size[0])


def _resized_rows(pixels: Pixels, size: int) -> Pixels:
    """Resize the rows of pixels [h, w, 3] to `size`."""
    if len(pixels) == size:
        return pixels
    scale = len(pixels) / size
    reach = max(scale, 1.0)
    centres = scale * (np.arange(size) + 0.5)
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    counts = np.minimum((centres + reach + 0.5).astype(int), len(pixels)) - first
    taps = np.arange(counts.max())
    distances = np.abs((first[:, None] + taps - centres[:, None] + 0.5) * (1 / reach))
    weights = np.maximum(0, 1 - distances) * (taps < counts[:, None])
    weights /= weights.sum(1, keepdims=True)
    bits = 0
    while bits < 22 and int(0.5 + weights.max() * 2 ** (bits + 1)) < 2**15:
        bits += 1
    whole = np.floor(0.5 + weights * 2**bits)
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    found = np.empty((size, flat.shape[1]), np.uint8)
    for row in range(size):
        part = flat[first[row] : first[row] + counts[row]].astype(np.float64)  # whole numbers below 2^53 are exact
        found[row] = ((whole[row, : len(part)] @ part + 2 ** (bits - 1)) / 2**bits).clip(0, 255)
    return found.reshape(size, *pixels.shape[1:])


def _thickened(line: Mask, reach: int) -> Mask:
    """Return where True lies within so many rows of a mask [h, w]; its time does not grow with the reach."""
    padded = np.pad(line, ((reach + 1, reach), (0, 0)))
    counts = np.cumsum(padded, axis=0, dtype=np.int32)
    return np.asarray(counts[2 * reach + 1 :] > counts[: -2 * reach - 1])


def smoothed(values: Map, sigma: float) -> Map:
    """Smooth a map [H, W] by a Gaussian, sigma in px, reflected borders, cut off at 4 sigma; 0 changes nothing."""
    if sigma <= 0:
        return values
    reach = min(int(4 * sigma + 0.5), min(values.shape) - 1)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(2):
        padded = np.pad(values, ((0, 0), (reach, reach)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=1)
        values = (windows @ weights).T
    return np.ascontiguousarray(values, np.float32)


def _bilinear(values: Map, size: int) -> Map:
    """Resize the rows [h, w] to `size`, bilinearly; pixels are squares, and borders are repeated."""
    height = len(values)
    if height == size:
        return values
    places = ((np.arange(size) + 0.5) * (height / size) - 0.5).clip(0, height - 1)
    first = np.minimum(places.astype(int), max(0, height - 2))
    share = (places - first).astype(np.float32)[:, None]
    return np.asarray(values[first] * (1 - share) + values[np.minimum(first + 1, height - 1)] * share, np.float32)


def _by_area(values: Map, size: int) -> Map:
    """Resize the rows [h, w] to fewer, each the mean over its share of the old ones."""
    height = len(values)
    if height == size:
        return values
    edges = np.linspace(0, height, size + 1)
    first = np.minimum(edges.astype(int), height - 1)
    below = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    integral = below[first] + (edges - first)[:, None] * values[first]
    return np.asarray(np.diff(integral, axis=0) * (size / height), np.float32)


def read_photograph(data: bytes, name: str, bits: int | None = None, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photograph, upright, in mode `L` or `RGB`, transparent pixels on white.

    Args:
        data: the bytes of the file.
        name: for messages.
        bits: number of bits that 16-bit photographs use; None: as the file declares.
        max_pixels: larger photographs are refused.

    Raises:
        NotAnImage: of no kind that is read.
        InputError: damaged, no image, too large, or of a kind that only the whole package reads.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise InputError(f"{name} has {image.width} x {image.height} pixels: expected at most {max_pixels:,}")
            if max(image.size) > LONGEST:
                raise InputError(f"{name} is {image.width} x {image.height} px: expected sides of at most {LONGEST:,}")
            image.load()
            upright = UPRIGHT.get(_orientation(image))
            picture = _eight_bits(image, data, name, bits)
            return picture if upright is None else picture.transpose(upright)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise NotAnImage(f"{name} cannot be decoded: expected PNG, JPEG, BMP, TIFF or WebP") from error
    except Exception as error:  # decoders fail in a dozen ways on damaged files
        raise InputError(f"{name} cannot be decoded ({error}): expected PNG, JPEG, BMP, TIFF or WebP") from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8. A damaged EXIF block counts as none: the pixels are sound."""
    if image.format == "TIFF":  # Pillow turns TIFF files itself
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow fails in a dozen ways on damaged EXIF
        return 1


def _eight_bits(image: Image.Image, data: bytes, name: str, bits: int | None) -> Image.Image:
    declared = _declared_bits(image, data)
    if image.mode.startswith("I;16") and declared:
        return _scaled(image, name, bits, declared)
    if image.mode in {"I", "F", "LAB", "HSV"} or (declared is not None and min(declared, bits or 16) < 16):
        raise InputError(
            f"{name} holds pixels of mode {image.mode} that only the whole package reads: expected grey or colour of "
            "8 bits per channel, or grey of 16"
        )
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        lowest, highest = layers.getchannel("A").getextrema()
        if lowest == 255 or highest == 0:  # opaque, or left empty by the writer
            return layers.convert("RGB")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers).convert("RGB")
    if image.mode in {"L", "RGB"}:
        return image.copy()
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(image: Image.Image, name: str, bits: int | None, declared: int) -> Image.Image:
    """Return a 16-bit grey photograph with 8 bits: black is 0, white 2^bits - 1."""
    values = np.asarray(image).astype(np.uint16)
    highest, used = int(values.max(initial=0)), bits or declared
    if highest >= 2**used:
        if bits is not None:
            raise InputError(
                f"{name} holds values up to {highest}: expected at most {2**bits - 1}, those of {bits} bits"
            )
        used = 16
    white = 2**used - 1
    levels = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
    return Image.fromarray(levels[values])


def _declared_bits(image: Image.Image, data: bytes) -> int | None:
    """Return how many of 16 bits a file says that its values use; None for 8 bits, 0 for what Pillow misreads."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        stored = max(tags.get(258, (1,)))
        if stored <= 8:
            return None
        if tags.get(262) == 0 or stored < 16:  # 0 is white, or values are packed
            return 0
        highest = tags.get(281, 0)
        highest = int(max(highest) if isinstance(highest, tuple) else highest)
        return {2**count - 1: count for count in range(8, 16)}.get(highest, 16)
    if image.format != "PNG" or data[24:25] != b"\x10":
        return None
    place = 33
    while place + 8 <= len(data):
        length, chunk = struct.unpack_from(">I4s", data, place)
        if chunk == b"sBIT":
            said = max(data[place + 8 : place + 8 + (1 if data[25] in (0, 4) else 3)])
            return said if 8 <= said < 16 else 16
        if chunk in {b"IDAT", b"IEND"}:
            break
        place += 12 + length
    return 16


def photographs_in(place: Path, without: Path | None = None) -> list[Path]:
    """Return the image files in a folder and below, sorted; or the file itself.

    Args:
        place: the folder or file.
        without: a folder that is left out, as hidden files are.

    Raises:
        InputError: there is none.
    """
    found = [place] if place.is_file() else list(_below(place, without))
    if not found:
        raise InputError(f"{place}: no photograph is there; expected a photograph, or a folder of them")
    return found


def _below(folder: Path, without: Path | None) -> Iterator[Path]:
    left_out = None if without is None else without.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        own = left_out is not None and left_out in path.resolve().parents
        if not hidden and not own and path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def printable(path: Path) -> str:
    """Return a path as text that can be written; bytes that are no UTF-8 are escaped."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


class Opened(NamedTuple):
    """A photograph that was decoded."""

    name: str
    photograph: Image.Image
    pixels: Pixels


def examine(
    bundle: Bundle,
    files: Iterable[tuple[str, Path]],
    finish: Callable[[Result | Unreadable, Image.Image | None], None],
    *,
    batch_size: int = 1,
    workers: int | None = None,
) -> Iterator[Result | Unreadable]:
    """Yield the result of each file, in their order; files are decoded ahead, and finished, in threads.

    Args:
        bundle: the detector.
        files: names and paths.
        finish: is called in a thread with each result and its photograph.
        batch_size: photographs per pass of the graph.
        workers: threads; by default one per core.
    """

    def decode(name: str, path: Path) -> Opened | Unreadable:
        try:
            photograph = bundle.read(_read(path, "a photograph"), name)
            return Opened(name, photograph, bundle.fitted(photograph))
        except InputError as error:
            return Unreadable(name, str(error))

    def complete(result: Result | Unreadable, photograph: Image.Image | None) -> Result | Unreadable:
        finish(result, photograph)
        _ = result.line()  # finds the regions here, in a thread
        return result

    source = iter(files)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        decoding: deque[Future[Opened | Unreadable]] = deque()
        finishing: deque[Future[Result | Unreadable]] = deque()
        decoding.extend(pool.submit(decode, *file) for file in islice(source, 2 * batch_size))
        while decoding:
            batch = [decoding.popleft().result() for _ in range(min(batch_size, len(decoding)))]
            decoding.extend(pool.submit(decode, *file) for file in islice(source, len(batch)))
            opened = [item for item in batch if isinstance(item, Opened)]
            results = iter(
                bundle.results(
                    [item.name for item in opened],
                    [item.photograph for item in opened],
                    np.stack([item.pixels for item in opened]),
                )
                if opened
                else ()
            )
            for item in batch:
                if isinstance(item, Opened):
                    finishing.append(pool.submit(complete, next(results), item.photograph))
                else:
                    finishing.append(pool.submit(complete, item, None))
            while finishing and (len(finishing) > 2 * batch_size or finishing[0].done()):
                yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()


@dataclass(frozen=True)
class Overlays:
    """Writes the outline over each photograph below a folder; None: nothing is written."""

    folder: Path | None

    def __call__(self, result: Result | Unreadable, photograph: Image.Image | None) -> None:
        """Write one, whole or not at all; one that cannot be written is reported on stderr."""
        if self.folder is None or photograph is None or not isinstance(result, Result):
            return
        parts = [part for part in Path(result.name).parts if part not in ("..", ".", Path(result.name).anchor)]
        path = self.folder.joinpath(*parts)
        path = path.with_name(path.name + ".jpg")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{uuid.uuid4().hex}.unfinished")
            result.overlay(photograph).save(unfinished, "JPEG", quality=90)
            os.replace(unfinished, path)
        except OSError as error:
            print(f"{path}: not written ({error.strerror or error})", file=sys.stderr)  # noqa: T201


@contextmanager
def table_at(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that adds a line to a table, which is in its place once the block has ended, however it ends.

    Raises:
        InputError: a table cannot be written there; found before any work is done.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected the name of a table to write")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    try:
        with file:
            writer = csv.DictWriter(file, COLUMNS, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writeheader()
            yield writer.writerow
    finally:  # also what was examined before Ctrl-C or SIGTERM
        os.replace(unfinished, path)


def arrivals(
    folder: Path, known: set[str], stopped: Callable[[], bool], without: Path | None = None
) -> Iterator[tuple[str, Path]]:
    """Yield names and paths of photographs as they appear in a folder, once they no longer change.

    Args:
        folder: the folder, with all below it.
        known: names that are left out; each new one is added.
        stopped: ends the watch.
        without: a folder that is left out.
    """
    seen: dict[str, tuple[tuple[int, int], float]] = {}
    while not stopped():
        fresh = False
        for path in _below(folder, without):
            if stopped():
                return
            name = printable(path.relative_to(folder))
            if name in known:
                continue
            try:
                status = path.stat()
            except OSError:  # it has gone
                continue
            stamp = (status.st_size, status.st_mtime_ns)
            if seen.get(name, (None, 0.0))[0] != stamp:
                seen[name] = (stamp, time.monotonic())
            elif _complete(path) or time.monotonic() - seen[name][1] > PATIENCE:
                known.add(name)
                seen.pop(name)
                fresh = True
                yield name, path
        if not fresh:
            time.sleep(POLL)


def _complete(path: Path) -> bool:
    """Say whether a file can be decoded: a camera may pause while it writes."""
    try:
        read_photograph(path.read_bytes(), path.name)
    except (InputError, OSError):
        return False
    return True


def watch(bundle: Bundle, folder: Path, table: Path, overlays: Overlays, stopped: Callable[[], bool]) -> None:
    """Examine photographs as they appear in a folder; each adds a line to the table, until `stopped`.

    Files that the table has already are left out. A last line that is cut off, as by a power cut, is removed.

    Raises:
        InputError: a file is there that is no such table.
    """
    known = _known(table)
    with table.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        for name, path in arrivals(folder, known, stopped, overlays.folder):
            for result in examine(bundle, [(name, path)], overlays, workers=1):
                if isinstance(result, Unreadable) and not path.exists():  # taken away meanwhile; it may come back
                    known.discard(name)
                    continue
                writer.writerow(result.line())
                file.flush()
                print(described(result), flush=True)  # noqa: T201 (the program's output)


def _known(table: Path) -> set[str]:
    """Return the names in a table, which is made if it is not there, and mended if its last line is cut off."""
    content = table.read_bytes() if table.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        with table_at(table):
            pass
        return set()
    lines = csv.DictReader(io.StringIO(whole.decode("utf-8", "backslashreplace"), newline=""))
    if lines.fieldnames is None or tuple(lines.fieldnames) != COLUMNS:
        raise InputError(f"{table}: not a table of this program; expected one, or --out with another name")
    if len(whole) < len(content):
        os.truncate(table, len(whole))
    return {line["file"] for line in lines}


def described(result: Result | Unreadable) -> str:
    """Return a line for the terminal."""
    if isinstance(result, Unreadable):
        return f"unreadable  {result.reason}"
    decision = "anomalous" if result.anomalous else "good"
    return f"{decision:<10}  {result.score:.4g} (threshold {result.threshold:.4g})  {result.name}"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(prog="detect.py", description="Find defective parts on photographs.")
    parser.add_argument("photographs", nargs="*", type=Path, help="photographs, or folders with all below them")
    parser.add_argument("--watch", type=Path, metavar="FOLDER", help="examine each photograph that appears there")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="table of results (%(default)s)")
    parser.add_argument("--overlays", type=Path, metavar="FOLDER", help="write the outline over each photograph there")
    parser.add_argument("--batch-size", type=int, default=4, help="photographs per pass (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of ONNX Runtime (one per core)")
    parser.add_argument("--bundle", type=Path, default=Path(__file__).parent, help="folder of the detector (this one)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 if nothing could be examined."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    given = parser.parse_args(arguments)
    if bool(given.photographs) == bool(given.watch):
        parser.error("expected photographs, or --watch FOLDER")
    if given.batch_size < 1:
        parser.error("--batch-size: expected 1 or more")
    try:
        return _run(given)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2


def _run(given: argparse.Namespace) -> int:
    overlays = Overlays(given.overlays)
    if given.watch:
        if not given.watch.is_dir():
            raise InputError(f"{given.watch}: no such folder; expected one to watch")
        stops: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda caught, frame: stops.append(caught))
        watch(Bundle(given.bundle, threads=given.threads), given.watch, given.out, overlays, lambda: bool(stops))
        return 0
    bundle, files = Bundle(given.bundle, threads=given.threads), list(_named(given.photographs, given.overlays))
    decisions = []
    with table_at(given.out) as add:
        for result in examine(bundle, files, overlays, batch_size=given.batch_size):
            line = result.line()
            add(line)  # first: the table has all that is shown
            print(described(result), flush=True)  # noqa: T201
            decisions.append(line["decision"])
    readable = len(decisions) - decisions.count("unreadable")
    print(f"{decisions.count('anomalous')} of {readable} photographs are anomalous; {given.out}")  # noqa: T201
    return 0 if readable else 2


def _named(places: Sequence[Path], without: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield names and paths of photographs: names relative to the folder, or whole paths for several places."""
    for place in places:
        root = place if place.is_dir() else place.parent
        for path in photographs_in(place, without):
            yield printable(path if len(places) > 1 else path.relative_to(root)), path


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda caught, frame: sys.exit(128 + caught))
    sys.exit(main())
