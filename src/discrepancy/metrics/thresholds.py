"""Thresholds from held-out good images only, with the uncertainty that so few images leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from discrepancy.errors import InputError
from discrepancy.metrics.checks import as_numbers, check_no_nan
from discrepancy.metrics.ranks import CHUNK

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """A decision threshold: anomalous iff score > `value`.

    Attributes:
        value: in the units of the scores.
        fpr: target false-positive rate, in [0, 1).
        count: number of good scores it was taken from.
        above: how many of them lie above `value`; `above / count <= fpr`.
        images: number of good images they come from; equal to `count` for image scores, fewer for pixel scores.
    """

    value: float
    fpr: float
    count: int
    above: int
    images: int

    @property
    def interval(self) -> tuple[float, float]:
        """Range in which the true false-positive rate lies with 95 % confidence, each end in [0, 1].

        With the (k + 1)-th highest of n independent scores as threshold, the true rate follows Beta(k + 1, n - k)
        whatever the scores' distribution (Wilks 1941). The upper end is Clopper and Pearson's for k of n. That is
        exact for image scores without ties. Pixels of one image are alike, but not the same. For pixel scores the
        range spans both extremes, n = number of images and n = number of pixels, and so is cautious.
        """
        tail = (1 - CONFIDENCE) / 2
        independent = np.array([self.images, self.count])
        allowed = np.array([allowed_above(n, self.fpr) for n in (self.images, self.count)])
        low, high = beta.ppf([[tail], [1 - tail]], allowed + 1, independent - allowed)
        return float(low.min()), float(high.max())

    def describe(self) -> str:
        """Say in a few words where the threshold comes from and how uncertain its false-positive rate is."""
        low, high = self.interval
        images = f"{self.images} held-out good image{'' if self.images == 1 else 's'}"
        source = images if self.count == self.images else f"{self.count} pixels of {images}"
        text = (
            f"threshold {self.value:.6g} from {source}, {self.above} above it. Target false-positive rate "
            f"{percent(self.fpr)}, true rate {percent(low)} to {percent(high)} ({percent(CONFIDENCE)} confidence"
        )
        text += ")" if self.count == self.images else "; pixels of one image are alike, so the number of images counts)"
        needed = math.ceil(round(1 / self.fpr, 6)) if self.fpr else 1  # from there on one may lie above
        if self.images < needed:
            text += f". Too few: a rate of {percent(self.fpr)} needs at least {needed} good images"
        return text + "."


def threshold_at_fpr(good_scores: ArrayLike, *, fpr: float = 0.01, images: int | None = None) -> Threshold:
    """Return the lowest score of good images that at most a share `fpr` of their scores exceeds.

    Two uses: image scores `[N]` give the threshold for images, anomaly maps `[N, H, W]` the one for pixels. Scores of
    test images never belong here. The scores are read in chunks, a `np.memmap` of any size will do. At most
    `ranks.CHUNK` of the highest are kept and partially ordered, and they are read again if that does not reach down to
    the threshold.

    Args:
        good_scores: scores of held-out good images or of their pixels `[n, ...]`, higher = more anomalous.
        fpr: target false-positive rate, in [0, 1); 0 gives the highest score.
        images: how many images the scores come from; by default the length of the first axis.

    Returns:
        the threshold, for the rule "anomalous iff score > value".

    Raises:
        InputError: no scores, a NaN, a rate outside [0, 1), or a number of images below 1 or above that of scores.
    """
    scores = as_numbers(good_scores, name="good_scores")
    if not 0 <= fpr < 1:
        raise InputError(f"fpr is {fpr}; a false-positive rate in [0, 1) was expected.")
    images = len(scores) if images is None else images
    if not 1 <= images <= scores.size:
        raise InputError(
            f"images is {images}; a number from 1 to that of the good scores, {scores.size}, was expected."
        )
    value, above = _nth_highest(scores, allowed_above(scores.size, fpr) + 1)
    return Threshold(value=value, fpr=fpr, count=scores.size, above=above, images=images)


def allowed_above(count: int, fpr: float) -> int:
    """Return the number of `count` scores that may lie above a threshold: the largest k with k / count <= fpr."""
    allowed = int(fpr * count)
    # The product is rounded (0.29 * 100 is 28.99...); the quotient has to hold.
    if (allowed + 1) / count <= fpr:
        return allowed + 1
    return allowed - 1 if allowed / count > fpr else allowed


def _nth_highest(scores: NDArray, n: int) -> tuple[float, int]:
    """Return the n-th highest of `scores` `[m, ...]` and how many lie above it, from the top down chunk by chunk."""
    value, above, ceiling = math.nan, 0, None
    while True:
        top, below = _highest(scores, min(n, CHUNK), ceiling=ceiling)
        passed = scores.size - below
        if passed >= n:  # the last round's value ties more often than it was kept
            return value, above
        first = len(top) - min(n - passed, len(top))
        ceiling = np.partition(top, first)[first]
        value, above = float(ceiling), passed + int(np.count_nonzero(top > ceiling))
        if n - passed <= len(top):
            return value, above


def _highest(scores: NDArray, count: int, *, ceiling: np.generic | None) -> tuple[NDArray, int]:
    """Return the `count` highest of those `scores` `[n, ...]` that lie below the ceiling, and how many lie there.

    They come in any order, and are fewer where there are not so many.
    """
    kept = np.empty(0, dtype=scores.dtype)
    below = 0
    step = max(1, CHUNK * len(scores) // scores.size)
    for start in range(0, len(scores), step):
        chunk = scores[start : start + step].reshape(-1)
        if chunk.dtype.kind == "f" and np.isnan(chunk.max()):
            check_no_nan(scores, name="good_scores")
        if ceiling is not None:
            chunk = chunk[chunk < ceiling]
        below += len(chunk)
        if len(kept) == count:
            chunk = chunk[chunk > kept[0]]
        kept = np.concatenate([kept, chunk])
        if len(kept) >= count:
            kept = np.partition(kept, len(kept) - count)[-count:]  # its lowest comes first
    return kept, below


def percent(share: float) -> str:
    """Return a share in per cent, two digits."""
    if 0 < share < 1e-4:
        return "under 0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
