"""Resizing with antialiasing: PyTorch's kernels for bytes, Pillow's for the filter that PyTorch lacks.

Both compute the same filters in integers and agree but for single grey levels. PyTorch's are several times as fast, and
resizing takes most of the time of ingestion after decoding.
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
    """Resize an image of mode `RGB` or `L` to `size` = (height, width): uint8 [H, W, 3] or [H, W].

    An image that already has this size is left as it is.
    """
    height, width = size
    if image.size == (width, height):
        return np.asarray(image)
    if resample == "lanczos":
        return np.asarray(image.resize((width, height), _FILTERS[resample]))
    import torch  # a second of import, which the command's help need not wait for
    from torch.nn.functional import interpolate

    pixels = np.array(image)
    # Channels stay last in memory, as the fast kernels require.
    planes = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)[None]
    other = interpolate(planes, size, mode=resample, antialias=True)[0].permute(1, 2, 0).numpy()
    return other.reshape(*size, *pixels.shape[2:])
