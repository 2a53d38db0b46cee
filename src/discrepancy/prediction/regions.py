"""Regions of an anomaly map above the threshold: connected pixels, with a box around each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Connected pixels, also across corners, whose anomaly is above the threshold; px from the upper left corner.

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


def find_regions(anomaly_map: NDArray[np.float32], threshold: float) -> tuple[Region, ...]:
    """Return the regions of a map [h, w] above the threshold, the highest peak first."""
    above = (anomaly_map > threshold).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    regions = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        part = np.s_[top : top + height, left : left + width]
        values = np.where(labels[part] == label, anomaly_map[part], -np.inf)
        row, column = (int(index) for index in np.unravel_index(int(values.argmax()), values.shape))
        peak = float(values[row, column])
        regions.append(Region(left, top, width, height, area, peak, left + column, top + row))
    return tuple(sorted(regions, key=lambda region: -region.peak))
