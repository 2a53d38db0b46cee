"""Photographs that are blended into corrupted images, DFC's fifth fill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discrepancy.data.images import ImageSize, decode_image
from discrepancy.errors import InputError


class ImageFolder(Sequence[NDArray[np.uint8]]):
    """Every image below a folder, decoded on demand: uint8 [3, H, W].

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
