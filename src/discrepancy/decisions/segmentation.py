"""From an anomaly map to outlined regions, so that a part that passes has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from discrepancy.decisions.calibration import Calibration, Rule

Map = NDArray[np.float32]


@dataclass(frozen=True)
class SegmentationRule:
    """Hysteresis on the smoothed map: regions above `low` that reach `high` and are large enough.

    A part that passes has no region. In one that does not, the region with the highest peak always counts. Where
    even that stays below `low`, nothing stands out.

    Attributes:
        high: a region's peak is above it.
        low: all of the region's pixels are above it; at most `high`.
        sigma: of the Gaussian that smooths the map, px; 0: none.
        smallest: number of pixels of the smallest region that counts.
        anomalous_only: a part that passes has no region; False outlines whatever is above the thresholds.
    """

    high: float
    low: float
    sigma: float = 0.0
    smallest: int = 1
    anomalous_only: bool = True

    def with_peak_threshold(self, high: float) -> SegmentationRule:
        """Return the same rule with another threshold of peaks."""
        return replace(self, high=high, low=min(self.low, high))

    def smoothed(self, anomaly_map: Map) -> Map:
        """Return the smoothed map, [H, W]."""
        return smooth(anomaly_map, self.sigma)

    def level(self, anomaly_map: Map, *, anomalous: bool) -> Map:
        """Return the smoothed map [H, W], below `low` outside the regions; they are where it is above `low`.

        Resized like a map, it gives outlines at any size. A little below `low`, rounding makes no region.

        Args:
            anomaly_map: raw map, [H, W].
            anomalous: the decision on the image.
        """
        smoothed = self.smoothed(anomaly_map)
        found = self._regions(smoothed, anomalous)
        below = np.float32(self.low - 1e-4 * max(abs(self.low), self.high - self.low))
        return np.where(found, smoothed, np.minimum(smoothed, below))

    def mask(self, anomaly_map: Map, *, anomalous: bool) -> NDArray[np.bool_]:
        """Return the pixels of the regions, [H, W]; arguments as of `level`."""
        return self._regions(self.smoothed(anomaly_map), anomalous)

    def _regions(self, smoothed: Map, anomalous: bool) -> NDArray[np.bool_]:
        above = smoothed > self.low
        if (self.anomalous_only and not anomalous) or not above.any():
            return np.zeros_like(above)
        if not self.anomalous_only and self.high == self.low and self.smallest <= 1:
            return above
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
        peaks = np.full(count, -np.inf, np.float32)
        np.maximum.at(peaks, np.asarray(labels, dtype=np.intp)[above], smoothed[above])
        kept = (peaks > self.high) & (boxes[:, cv2.CC_STAT_AREA] >= self.smallest)
        if self.anomalous_only:
            kept |= peaks == peaks[1:].max()
        kept[0] = False
        return np.asarray(kept[labels])


@dataclass(frozen=True)
class Outlines(Sequence[NDArray[np.bool_]]):
    """Outlined pixels of many images, each computed when it is asked for.

    Attributes:
        maps: raw anomaly maps [N, H, W]; may be memory-mapped.
        anomalous: decisions on the images, [N].
        rule: what is outlined.
    """

    maps: NDArray[np.floating]
    anomalous: NDArray[np.bool_]
    rule: SegmentationRule

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.maps)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.bool_]: ...

    @overload
    def __getitem__(self, index: slice) -> Outlines: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.bool_] | Outlines:
        """Return the outlined pixels of an image, bool [H, W], or the outlines of some images."""
        if isinstance(index, slice):
            return Outlines(self.maps[index], self.anomalous[index], self.rule)
        anomaly_map = np.asarray(self.maps[index], dtype=np.float32)
        return self.rule.mask(anomaly_map, anomalous=bool(self.anomalous[index]))


def smooth(anomaly_map: Map, sigma: float) -> Map:
    """Smooth a map [H, W] by a Gaussian, sigma in px, as image scores are smoothed; 0 changes nothing."""
    if sigma <= 0:
        return np.asarray(anomaly_map, dtype=np.float32)
    reach = min(int(4 * sigma + 0.5), min(anomaly_map.shape) - 1)
    size = (2 * reach + 1, 2 * reach + 1)
    blurred = cv2.GaussianBlur(anomaly_map, size, sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32)


def segmentation_rule(maps: NDArray[np.floating], *, target: float, rule: Rule, sigma: float) -> SegmentationRule:
    """Set the thresholds of regions from the maps of held-out good images.

    `high`: the peak of a good image's smoothed map exceeds it at the target rate. `low` lies half-way down to the
    median of these peaks. The smallest region is as large as the median of those that good images have above `low`,
    those with an outlying peak left out.

    Args:
        maps: raw, of held-out good images [N, H, W]; may be memory-mapped.
        target: false-alarm rate of images, in [0, 1).
        rule: that turns peaks into a threshold.
        sigma: of the Gaussian, px.
    """
    peaks = np.array([smooth(anomaly_map, sigma).max() for anomaly_map in maps], dtype=np.float64)
    calibration = Calibration(peaks, target, rule)
    high = calibration.threshold
    low = min(high, (high + float(np.median(peaks))) / 2)
    usual = np.setdiff1d(np.flatnonzero(peaks > low), calibration.outliers)
    areas = [area for row in usual for area in _areas(smooth(maps[row], sigma) > low)]
    return SegmentationRule(high, low, sigma, max(1, int(np.median(areas))) if areas else 1)


def _areas(above: NDArray[np.bool_]) -> list[int]:
    """Return the number of pixels of each region, 8-connected."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    return [int(area) for area in boxes[1:, cv2.CC_STAT_AREA]]
