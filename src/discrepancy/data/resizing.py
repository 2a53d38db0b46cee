"""Resizing with antialiasing: PyTorch's kernels for bytes, Pillow's for the filter that PyTorch lacks.

Both compute the same filters in the same whole numbers (they agree but for single levels here and there); PyTorch's are
several times as fast, and resizing is what ingestion spends most on after decoding.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
from PIL import Image

Resample: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]

# Pillow widens these filters when it shrinks an image: they antialias.
_FILTERS: Final[dict[str, Image.Resampling]] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resized(image: Image.Image, size: tuple[int, int], resample: Resample) -> np.ndarray:
    """An image of mode `RGB` or `L` resized to `size` = (height, width): uint8 [H, W, 3] or [H, W].

    One that has this size already is left as it is.
    """
    height, width = size
    if image.size == (width, height):
        return np.asarray(image)
    if resample == "lanczos":
        return np.asarray(image.resize((width, height), _FILTERS[resample]))
    import torch  # a second of import, which a look at the command's help need not wait for
    from torch.nn.functional import interpolate

    pixels = np.array(image)
    # Channels stay last in memory: that is how the fast kernels want them.
    planes = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)[None]
    other = interpolate(planes, size, mode=resample, antialias=True)[0].permute(1, 2, 0).numpy()
    return other.reshape(*size, *pixels.shape[2:])
