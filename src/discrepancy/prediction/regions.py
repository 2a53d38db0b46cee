"""Regions of an anomaly map that are outlined: connected pixels, with a box around each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Connected outlined pixels, also across corners; px from the upper left corner.

    Attributes:
        left: first column of the bounding box.
        top: first row of the bounding box.
        width: of the bounding box.
        height: of the bounding box.
        area: number of pixels.
        peak: highest anomaly in the region.
        peak_x: column of the peak.
        peak_y: row of the peak.
    """

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float
    peak_x: int
    peak_y: int


def find_regions(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[Region, ...]:
    """Return the regions of a mask [h, w] with their anomaly in a map [h, w], the highest peak first."""
    if not mask.any():
        return ()
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        part = np.s_[top : top + height, left : left + width]
        values = np.where(labels[part] == label, anomaly_map[part], -np.inf)
        row, column = (int(index) for index in np.unravel_index(int(values.argmax()), values.shape))
        peak = float(values[row, column])
        regions.append(Region(left, top, width, height, area, peak, left + column, top + row))
    return tuple(sorted(regions, key=lambda region: -region.peak))
