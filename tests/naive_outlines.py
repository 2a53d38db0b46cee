"""Outlines as the card says, found slowly."""

import numpy as np
from scipy.ndimage import gaussian_filter, label


def naive_outlines(anomaly_map, entry, *, anomalous):
    """Pixels [H, W] of the regions of a map [H, W], by a card's entry of pixels; none of a part that passes."""
    smoothed = gaussian_filter(anomaly_map, entry.sigma, mode="mirror") if entry.sigma else anomaly_map
    labels, count = label(smoothed > entry.low, np.ones((3, 3)))
    regions = [labels == number for number in range(1, count + 1)]
    peaks = [smoothed[region].max() for region in regions]
    found = np.zeros(anomaly_map.shape, bool)
    for region, peak in zip(regions, peaks, strict=True):
        if anomalous and (peak == max(peaks) or (peak > entry.value and region.sum() >= entry.smallest)):
            found |= region
    return found
