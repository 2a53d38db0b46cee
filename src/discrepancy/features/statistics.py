"""Mean and standard deviation per channel, over features that do not fit into memory."""

from __future__ import annotations

import numpy as np


class ChannelStatistics:
    """Mean and standard deviation of each channel over all images and positions, in float64, one image at a time.

    Means and sums of squared deviations of two parts are combined exactly (Chan, Golub and LeVeque 1983). Unlike a
    difference of sums of squares this keeps its digits when a channel's mean is far larger than its spread.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self._squares = np.zeros(channels)

    def update(self, image: np.ndarray) -> None:
        """Add the map [h, w, C] of one image, channels last.

        Raises:
            FloatingPointError: a value is infinite or not a number; nothing was added.
        """
        values = image.reshape(-1, image.shape[-1]).astype(np.float64)
        count = len(values)
        with np.errstate(invalid="ignore"):
            mean = values.mean(axis=0)
        if not np.isfinite(mean).all():
            raise FloatingPointError("a value is not finite")
        values -= mean
        difference, total = mean - self.mean, self.count + count
        self._squares += np.einsum("nc,nc->c", values, values) + difference**2 * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation [C] (no Bessel correction); 0 for a constant channel."""
        return np.sqrt(self._squares / max(self.count, 1))
