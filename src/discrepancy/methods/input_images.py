"""Input images of a detector, checked: another range or order of numbers would get a plausible score."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from discrepancy.errors import InputError


def input_images(images: Any, size: tuple[int, int], *, device: torch.device) -> Tensor:
    """Return images as a detector takes them: uint8 [N, 3, H, W] with N > 0.

    Args:
        images: a tensor of these, or a NumPy array, which is copied to the device.
        size: H and W, px.
        device: of the detector.

    Raises:
        InputError: anything else. Floating-point numbers are not converted: nothing tells 0..1 from 0..255 or from
            normalised values in a dark picture.
    """
    if isinstance(images, Tensor):
        uint8 = images.dtype == torch.uint8
    else:
        uint8 = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not uint8 or images.ndim != 4 or images.shape[1] != 3 or tuple(images.shape[2:]) != size or not len(images):
        raise InputError(
            f"images: {_found(images)} given; this detector expects uint8 [N, 3, {size[0]}, {size[1]}], RGB in "
            "0 to 255, neither scaled nor normalised, N at least 1"
        )
    return images if isinstance(images, Tensor) else torch.from_numpy(np.array(images)).to(device)


def _found(images: Any) -> str:
    if not isinstance(images, Tensor | np.ndarray):
        return f"a {type(images).__name__}"
    size = f", {images.shape[2]}x{images.shape[3]} px," if images.ndim == 4 and images.shape[1] == 3 else ""
    return f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}{size}"
