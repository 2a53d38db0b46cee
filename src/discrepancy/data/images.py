"""Decoded, resized images and masks: single files, or a category in pieces."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import PIL
from PIL import Image
from tqdm import tqdm

from discrepancy.data.lazy_array import LazyArray, computed_chunks
from discrepancy.data.reading import read_mask, read_photograph
from discrepancy.data.resizing import Resample, resized
from discrepancy.errors import InputError

ImageSize: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

# Raised when the same files and parameters begin to give other pixels: arrays on disk are then made anew.
FORMAT: Final = 4
DECODER: Final = (FORMAT, PIL.__version__)
"""Version of the decoder. Arrays and features that come from another version are computed anew."""

_UINT8: Final[np.dtype[Any]] = np.dtype(np.uint8)
_BOOL: Final[np.dtype[Any]] = np.dtype(bool)


@dataclass(frozen=True)
class ResizeCrop:
    """Geometry of the network's input: the whole photograph resized, then its centre cut out if `crop` is given.

    Attributes:
        resized: (height, width) that the whole photograph is resized to, px.
        crop: (height, width) that is cut out of the centre of that, px; None keeps it whole.

    Raises `InputError` when `crop` is larger than `resized`.
    """

    resized: ImageSize
    crop: ImageSize | None = None

    def __post_init__(self) -> None:
        if self.crop and (self.crop[0] > self.resized[0] or self.crop[1] > self.resized[1]):
            crop, whole = ("x".join(map(str, size)) for size in (self.crop, self.resized))
            raise InputError(f"crop is {crop}: expected at most image_size, {whole}; it is cut out after resizing.")

    @property
    def size(self) -> ImageSize:
        """(height, width) of the arrays, px."""
        return self.crop or self.resized

    @property
    def corner(self) -> ImageSize:
        """(row, column) of the upper left pixel of the crop within the resized photograph."""
        (height, width), (rows, columns) = self.resized, self.size
        return (height - rows) // 2, (width - columns) // 2


def parse_image_size(value: Any, *, name: str = "image_size") -> ImageSize:
    """Return (height, width) from one number (a square), a pair `[height, width]`, or text `"640x256"` or `"256"`.

    Raises `InputError`, which calls it `name`, if `value` is none of these, or not positive.

    Example:
        >>> parse_image_size("640x256")
        (640, 256)
    """
    parts: Sequence[Any] = [value]
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[xX×]\s*([0-9]{1,9}))?\s*", value)
        parts = [int(part) for part in match.groups() if part] if match else []
    elif isinstance(value, Sequence):
        parts = value if len(value) == 2 else []
    whole = all(isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in parts)
    if not parts or not whole or min(parts) < 1:
        raise InputError(
            f"{name} is {value!r}: expected one positive whole number or height x width, such as 256 or 640x256."
        )
    return int(parts[0]), int(parts[-1])


def decode_image(
    path: Path, resize_crop: ResizeCrop | ImageSize, *, resample: Resample = "bilinear", bits: int | None = None
) -> np.ndarray:
    """Decode the photograph in `path` to uint8 [3, H, W], RGB, 0..255, upright, resized and cropped.

    The aspect ratio is not kept: choose the size to fit. Shrinking antialiases (the `resample` filter, widened by the
    factor); an image that already has this size is left as it is. Grey images fill three equal channels; other modes
    and the errors are those of `reading.read_photograph`.

    Args:
        path: the file.
        resize_crop: geometry of the result; a size (height, width) alone keeps the whole photograph.
        resample: the filter.
        bits: number of bits of 16 that the values use; None: as the file declares.
    """
    resize_crop = _as_resize_crop(resize_crop)
    pixels = np.empty((3, *resize_crop.size), _UINT8)
    _write_image(path, pixels, resize_crop=resize_crop, resample=resample, bits=bits)
    return pixels


def decode_mask(path: Path, resize_crop: ResizeCrop | ImageSize) -> np.ndarray:
    """Decode the ground truth in `path` to bool [H, W], True where any value is above 0, by nearest neighbour.

    Masks are stored upright, as the photograph is seen. A region smaller than the step of the resizing, or outside the
    crop, may vanish; its image stays anomalous, because labels come from folders. Raises `InputError` as `decode_image`
    does.
    """
    resize_crop = _as_resize_crop(resize_crop)
    mask = np.empty(resize_crop.size, _BOOL)
    _write_mask(path, mask, resize_crop=resize_crop)
    return mask


def image_chunks(
    paths: Sequence[Path],
    resize_crop: ResizeCrop | ImageSize,
    *,
    resample: Resample = "bilinear",
    bits: int | None = None,
    workers: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """Yield `decode_image` of every path, in order, as pieces uint8 [n, 3, H, W], n <= `chunk`, decoded in parallel.

    Memory, threads and errors: see `lazy_array.computed_chunks`.
    """
    resize_crop = _as_resize_crop(resize_crop)
    fill = partial(_write_image, resize_crop=resize_crop, resample=resample, bits=bits)
    return computed_chunks(fill, paths, shape=(3, *resize_crop.size), dtype=_UINT8, workers=workers, chunk=chunk)


def mask_chunks(
    paths: Sequence[Path | None],
    resize_crop: ResizeCrop | ImageSize,
    *,
    seen: Callable[[Path, np.ndarray], None] | None = None,
    workers: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """Yield `decode_mask` of every path, in order, as pieces bool [n, H, W], n <= `chunk`; all False for None.

    `seen` is called by the threads with each path and its mask bool [h, w], before resizing.
    """
    resize_crop = _as_resize_crop(resize_crop)
    fill = partial(_write_mask, resize_crop=resize_crop, seen=seen)
    return computed_chunks(fill, paths, shape=resize_crop.size, dtype=_BOOL, workers=workers, chunk=chunk)


def image_array(
    samples: pd.DataFrame,
    root: Path,
    resize_crop: ResizeCrop | ImageSize,
    *,
    resample: Resample = "bilinear",
    bits: int | None = None,
    workers: int | None = None,
) -> LazyArray:
    """Return the sample table's photographs as a lazy array, in its order: uint8 [N, 3, H, W]. `root` is the data root.

    `bits` is the number of 16 bits that all of them use, see `depth.category_depth`; None: as each file declares. The
    fingerprint covers the files' digests, size and crop, the filter, the bits and the decoder's version.
    """
    paths = [root / name for name in samples["image"]]
    resize_crop = _as_resize_crop(resize_crop)

    def chunks() -> Iterator[np.ndarray]:
        return _watched(
            image_chunks(paths, resize_crop, resample=resample, bits=bits, workers=workers), len(paths), "decoding"
        )

    form, version = DECODER
    how = [form, list(resize_crop.resized), list(resize_crop.size), resample, bits, version]
    digest = hashlib.sha256(json.dumps([how, list(samples["sha256"])]).encode()).hexdigest()
    return LazyArray((len(paths), 3, *resize_crop.size), _UINT8, chunks, digest)


def mask_array(
    samples: pd.DataFrame,
    root: Path,
    resize_crop: ResizeCrop | ImageSize,
    *,
    seen: Callable[[Path, np.ndarray], None] | None = None,
    workers: int | None = None,
) -> LazyArray:
    """Return the sample table's ground truth as a lazy array: bool [N, H, W], all False where `mask` is empty.

    `seen` is that of `mask_chunks`.
    """
    # An empty text comes back as a missing value from some file formats.
    paths = [root / name if name else None for name in samples["mask"].fillna("")]
    resize_crop = _as_resize_crop(resize_crop)
    chunks = partial(mask_chunks, paths, resize_crop, seen=seen, workers=workers)
    return LazyArray((len(paths), *resize_crop.size), _BOOL, chunks)


def _watched(chunks: Iterator[np.ndarray], total: int, title: str) -> Iterator[np.ndarray]:
    """Yield the same pieces, with a progress bar over their rows on a terminal."""
    with tqdm(total=total, desc=title, unit="image", disable=None) as bar:
        for piece in chunks:
            bar.update(len(piece))
            yield piece


def fit_image(image: Image.Image, resize_crop: ResizeCrop, *, resample: Resample = "bilinear") -> np.ndarray:
    """Resize and crop an image of mode `RGB` or `L`: uint8 [3, H, W], a view; grey fills three equal channels."""
    whole = resized(image, resize_crop.resized, resample)
    (top, left), (rows, columns) = resize_crop.corner, resize_crop.size
    part = whole[top : top + rows, left : left + columns]
    planes = part.transpose(2, 0, 1) if part.ndim == 3 else part
    return np.broadcast_to(planes, (3, rows, columns))


def fit_mask(mask: np.ndarray, resize_crop: ResizeCrop) -> np.ndarray:
    """Resize a mask bool [h, w] by nearest neighbour and crop it: bool [H, W]."""
    if mask.shape == resize_crop.resized == resize_crop.size:
        return mask
    # The pixel under the centre of each new pixel, in whole numbers: (i + 1/2) * old / new, rounded down.
    rows, columns = (
        (2 * np.arange(first, first + count) + 1) * old // (2 * new)
        for first, count, new, old in zip(
            resize_crop.corner, resize_crop.size, resize_crop.resized, mask.shape, strict=True
        )
    )
    fitted: np.ndarray = mask[np.ix_(rows, columns)]
    return fitted


def _as_resize_crop(value: ResizeCrop | ImageSize) -> ResizeCrop:
    return value if isinstance(value, ResizeCrop) else ResizeCrop(value)


def _write_image(
    path: Path, pixels: np.ndarray, *, resize_crop: ResizeCrop, resample: Resample, bits: int | None
) -> None:
    """Write `decode_image` into `pixels` [3, H, W]."""
    pixels[:] = fit_image(read_photograph(path, bits=bits), resize_crop, resample=resample)


def _write_mask(
    path: Path | None,
    mask: np.ndarray,
    *,
    resize_crop: ResizeCrop,
    seen: Callable[[Path, np.ndarray], None] | None = None,
) -> None:
    """Write `decode_mask` into `mask` [H, W]."""
    if path is None:
        mask[:] = False
        return
    whole = read_mask(path)
    mask[:] = fit_mask(whole, resize_crop)
    if seen is not None:
        seen(path, whole)
