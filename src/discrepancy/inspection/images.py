"""Decoded, resized images and masks: one file, or a category in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
from PIL import Image

from discrepancy.errors import InputError
from discrepancy.inspection.chunks import ChunkedArray, filled_chunks
from discrepancy.inspection.reading import read_mask, read_photograph

ImageSize: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

Resample: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]

# Pillow widens these filters when it shrinks an image: they antialias.
_FILTERS: Final[dict[str, Image.Resampling]] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_UINT8: Final[np.dtype[Any]] = np.dtype(np.uint8)
_BOOL: Final[np.dtype[Any]] = np.dtype(bool)


def parse_image_size(value: Any) -> ImageSize:
    """(height, width) from one number (a square), a pair `[height, width]` or a text `"640x256"` or `"256"`.

    Raises `InputError` when `value` is none of these, or not positive.

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
            f"image_size is {value!r}: expected one positive whole number or height x width, "
            "such as 256, [640, 256] or 640x256."
        )
    return int(parts[0]), int(parts[-1])


def decode_image(path: Path, size: ImageSize, *, resample: Resample = "bilinear") -> np.ndarray:
    """The photograph in `path` as uint8 [3, H, W], RGB, 0..255, upright, resized to exactly `size` = (H, W).

    The aspect ratio is not kept: choose `size` to fit. Shrinking antialiases (Pillow's `resample` filter, widened by
    the factor); an image that already has this size is left as it is. Grey images fill three equal channels; other
    modes and the errors are those of `reading.read_photograph`.
    """
    pixels = np.empty((3, *size), _UINT8)
    _write_image(path, pixels, resample=resample)
    return pixels


def decode_mask(path: Path, size: ImageSize) -> np.ndarray:
    """The ground truth in `path` as bool [H, W], True where anomalous: any value above 0, resized by nearest neighbour.

    Masks are stored upright, as the photograph is seen. A region smaller than the step of the resizing may vanish;
    its image stays anomalous, because labels come from folders. Raises `InputError` as `decode_image` does.
    """
    mask = np.empty(size, _BOOL)
    _write_mask(path, mask)
    return mask


def image_chunks(
    paths: Sequence[Path],
    size: ImageSize,
    *,
    resample: Resample = "bilinear",
    workers: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """`decode_image` of every path, in order, as pieces uint8 [n, 3, H, W] with n <= `chunk`, decoded in parallel.

    Memory, threads and errors: see `chunks.filled_chunks`.
    """
    fill = partial(_write_image, resample=resample)
    return filled_chunks(fill, paths, shape=(3, *size), dtype=_UINT8, workers=workers, chunk=chunk)


def mask_chunks(
    paths: Sequence[Path | None],
    size: ImageSize,
    *,
    workers: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """`decode_mask` of every path, in order, as pieces bool [n, H, W] with n <= `chunk`; all False where it is None."""
    return filled_chunks(_write_mask, paths, shape=size, dtype=_BOOL, workers=workers, chunk=chunk)


def image_array(
    samples: pd.DataFrame, root: Path, size: ImageSize, *, resample: Resample = "bilinear", workers: int | None = None
) -> ChunkedArray:
    """The photographs of the sample table's rows, in its order: uint8 [N, 3, H, W]. `root` is the data root."""
    paths = [root / name for name in samples["image"]]
    return ChunkedArray(
        (len(paths), 3, *size), _UINT8, partial(image_chunks, paths, size, resample=resample, workers=workers)
    )


def mask_array(samples: pd.DataFrame, root: Path, size: ImageSize, *, workers: int | None = None) -> ChunkedArray:
    """The ground truth of the sample table's rows, in its order: bool [N, H, W], all False where `mask` is empty."""
    # An empty text comes back as a missing value from some file formats.
    paths = [root / name if name else None for name in samples["mask"].fillna("")]
    return ChunkedArray((len(paths), *size), _BOOL, partial(mask_chunks, paths, size, workers=workers))


def _write_image(path: Path, pixels: np.ndarray, *, resample: Resample) -> None:
    """`decode_image` into `pixels` [3, H, W]."""
    image = read_photograph(path)
    shape = pixels.shape[2], pixels.shape[1]
    if image.size != shape:
        image = image.resize(shape, _FILTERS[resample])
    decoded = np.asarray(image)
    pixels[:] = decoded.transpose(2, 0, 1) if decoded.ndim == 3 else decoded


def _write_mask(path: Path | None, mask: np.ndarray) -> None:
    """`decode_mask` into `mask` [H, W]."""
    if path is None:
        mask[:] = False
        return
    full = read_mask(path)
    if full.shape == mask.shape:
        mask[:] = full
        return
    # The pixel under the centre of each new pixel, in whole numbers: (i + 1/2) * old / new, rounded down.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(mask.shape, full.shape, strict=True)
    )
    mask[:] = full[np.ix_(rows, columns)]
