"""Statistics of one photograph or one mask: size, mode, brightness, perceptual hash, mask coverage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from discrepancy.data.images import ResizeCrop, fit_mask
from discrepancy.data.reading import read_bytes, read_header, read_mask, read_photograph

THUMBNAIL: Final = 64
HASH_SIDE: Final = 16
DARK: Final = 1
BRIGHT: Final = 254


@dataclass(frozen=True)
class ImageStats:
    """Statistics of a photograph; grey levels are 0 to 255, over all its pixels.

    Attributes:
        width: px, upright.
        height: px, upright.
        mode: Pillow's name of the file's kind of pixels: `L`, `RGB`, `I;16`, `P`, ...
        kilobytes: size of the file, in 1024 bytes.
        sha256: of the file.
        mean: mean grey level.
        deviation: standard deviation of the grey levels.
        dark: share of pixels of level 0 or 1.
        bright: share of pixels of level 254 or 255.
        hash: perceptual hash of 256 bits, as uint64 [4] (imagehash's `phash` of side 16).
        thumbnail: uint8 [64, 64], grey; the aspect ratio is not kept.
    """

    width: int
    height: int
    mode: str
    kilobytes: float
    sha256: str
    mean: float
    deviation: float
    dark: float
    bright: float
    hash: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True)
class MaskStats:
    """Statistics of a mask.

    Attributes:
        width: px, upright.
        height: px, upright.
        coverage: share of its pixels that are marked.
        kept: True if a marked pixel remains after resizing (and cropping) as the photographs are.
        digest: sha256 of the marked pixels, hexadecimal; empty if none is marked.
    """

    width: int
    height: int
    coverage: float
    kept: bool
    digest: str


def image_stats(path: Path, *, bits: int | None = None) -> ImageStats:
    """Read, decode and measure a photograph. `bits` and errors are those of `reading.read_photograph`."""
    data = read_bytes(path)
    header = read_header(path, data)
    grey = read_photograph(path, data, bits=bits).convert("L")
    counts = np.array(grey.histogram())
    levels, pixels = np.arange(256), counts.sum()
    mean = float(counts @ levels / pixels)
    small = grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    hashed = imagehash.phash(small, hash_size=HASH_SIDE).hash
    return ImageStats(
        *header.size,
        mode=header.mode,
        kilobytes=len(data) / 1024,
        sha256=hashlib.sha256(data).hexdigest(),
        mean=mean,
        deviation=float(np.sqrt(counts @ (levels - mean) ** 2 / pixels)),
        dark=float(counts[: DARK + 1].sum() / pixels),
        bright=float(counts[BRIGHT:].sum() / pixels),
        hash=np.packbits(hashed).view(np.uint64),
        thumbnail=np.asarray(small),
    )


def mask_stats(path: Path, resize_crop: ResizeCrop) -> MaskStats:
    """Read and measure a mask. Raises `InputError` as `reading.read_mask` does."""
    return stats_of_mask(read_mask(path), resize_crop)


def stats_of_mask(mask: NDArray[np.bool_], resize_crop: ResizeCrop) -> MaskStats:
    """Measure a mask bool [h, w], of its file's own size."""
    height, width = mask.shape
    coverage = float(mask.mean())
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest() if coverage else ""
    return MaskStats(width, height, coverage=coverage, kept=bool(fit_mask(mask, resize_crop).any()), digest=digest)
