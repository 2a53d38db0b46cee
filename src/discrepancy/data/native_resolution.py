"""Anomaly maps at the size of their photographs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.data.images import ImageSize, ResizeCrop


@dataclass(frozen=True)
class NativeResolutionMaps:
    """Anomaly maps of a category at their photographs' sizes, computed on demand, one at a time.

    Iterating yields, per image, its path with the suffix `.tiff` and its map, float32 [h, w]. Images that differ only
    in the suffix keep theirs (`a.png.tiff`, `a.jpg.tiff`).

    Attributes:
        maps: raw anomaly maps [N, H, W], higher = more anomalous; may be memory-mapped.
        names: POSIX paths of the images, relative to the data root, in the order of the maps.
        sizes: (height, width) of the photographs, upright, px.
        resize_crop: geometry of the network's input.
    """

    maps: NDArray[np.floating]
    names: Sequence[str]
    sizes: Sequence[ImageSize]
    resize_crop: ResizeCrop

    def __len__(self) -> int:
        """Return the number of maps."""
        return len(self.maps)

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        stems = [str(PurePosixPath(name).with_suffix("")).casefold() for name in self.names]
        uses = Counter(stems)
        for row, (name, stem, size) in enumerate(zip(self.names, stems, self.sizes, strict=True)):
            path = name if uses[stem] > 1 else str(PurePosixPath(name).with_suffix(""))
            yield f"{path}.tiff", at_original_size(self.maps[row], self.resize_crop, size)


def at_original_size(
    anomaly_map: NDArray[np.floating], resize_crop: ResizeCrop, size: ImageSize
) -> NDArray[np.float32]:
    """Resize an anomaly map to the size of its photograph: bilinearly, or by area if that is smaller.

    Values stay raw. Pixels outside a crop were not scored: they get the lowest value of the map.

    Args:
        anomaly_map: [H, W], of the resizing and cropping's size.
        resize_crop: geometry of the network's input.
        size: (height, width) of the photograph, px.

    Returns:
        float32 [height, width].

    Raises:
        ValueError: the map is not of the resizing and cropping's size.
    """
    if anomaly_map.shape != resize_crop.size:
        raise ValueError(f"Expected a map of {resize_crop.size}, found {anomaly_map.shape}.")
    whole = np.array(anomaly_map, dtype=np.float32)
    if resize_crop.crop:
        (top, left), (rows, columns) = resize_crop.corner, resize_crop.size
        whole = np.full(resize_crop.resized, whole.min(), dtype=np.float32)
        whole[top : top + rows, left : left + columns] = anomaly_map
    shrinks = size[0] < resize_crop.resized[0] and size[1] < resize_crop.resized[1]
    resized = cv2.resize(whole, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)
