"""The definitions, as slowly and plainly as they can be written: one loop over all thresholds."""

import cv2
import numpy as np
from scipy import ndimage


def regions(masks):
    """8-connected components by OpenCV, `(image, bool [H, W])` each."""
    found = []
    for image, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        found += [(image, labels == number) for number in range(1, count)]
    return found


def pro_curve(maps, masks):
    """Rates and overlaps at every distinct score, from (0, 0)."""
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        rate = found[~masks].mean()
        overlap = np.mean([found[image][region].mean() for image, region in regions(masks)])
        points.append((rate, overlap))
    return np.array(points).T


def aupro(maps, masks, limit):
    """Trapezoids under the curve up to the limit, interpolated there, over the limit."""
    rates, overlaps = pro_curve(maps, masks)
    area = 0.0
    for x0, x1, y0, y1 in zip(rates[:-1], rates[1:], overlaps[:-1], overlaps[1:], strict=True):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)  # noqa: PLW2901
            x1 = limit  # noqa: PLW2901
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def with_holes_filled(region):
    """The region and all background that 8-connected steps do not join to the outside, by OpenCV."""
    background = np.pad(~region, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(background, connectivity=8)
    return (labels != labels[0, 0])[1:-1, 1:-1]


def aupro_as_published(maps, masks, limit, steps):
    """The papers' loop: thresholds from the highest score down, filled regions over their area, rescaled rates."""
    low, high = float(maps.min()), float(maps.max())
    points = []
    for step in range(steps):
        found = maps > maps.dtype.type(high - step * ((high - low) / steps))
        rate = found[~masks].sum() / (~masks).sum()
        shares = [found[i][with_holes_filled(region)].sum() / region.sum() for i, region in regions(masks)]
        if rate <= limit:
            points.append((rate, np.mean(shares)))
    rates, overlaps = np.array(points).T
    if rates.min() == rates.max():
        return np.nan
    rates = (rates - rates.min()) / (rates.max() - rates.min())
    return sum((rates[1:] - rates[:-1]) * (overlaps[1:] + overlaps[:-1]) / 2)


def best_iou(maps, masks):
    """Mean IoU over images with a mask, at the best of all distinct scores."""
    marked = [image for image in range(len(maps)) if masks[image].any()]
    best = 0.0
    for threshold in np.unique(maps):
        found = maps >= threshold
        ious = [(found[i] & masks[i]).sum() / (found[i] | masks[i]).sum() for i in marked]
        best = max(best, np.mean(ious))
    return best


def f1_max(scores, labels):
    """Best F1 over all distinct scores, and the highest score that reaches it."""
    best, at = 0.0, None
    for threshold in np.unique(scores)[::-1]:
        found = scores >= threshold
        f1 = 2 * (found & labels).sum() / (found.sum() + labels.sum())
        if f1 > best:
            best, at = f1, threshold
    return best, at


def made_maps(*, images=8, size=24, seed=0, levels=None, with_mask=5):
    """Smooth float32 maps with noise and blobs `[images, size, size]`, masks and labels; `levels` quantises."""
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.standard_normal((images, size, size)), (0, 2, 2)) * 3
    maps += 0.2 * rng.standard_normal(maps.shape)
    masks = np.zeros(maps.shape, dtype=bool)
    rows, columns = np.mgrid[:size, :size]
    for image in range(with_mask):
        for _ in range(3):
            row, column, radius = rng.uniform(2, size - 2), rng.uniform(2, size - 2), rng.uniform(1, 4)
            masks[image] |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    maps[masks] += 1.0
    if levels:
        maps = np.round((maps - maps.min()) / np.ptp(maps) * levels) / levels
    return maps.astype(np.float32), masks, np.arange(images) < with_mask
