"""The choice of poses to learn from: those in which good images still look normal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from torch import Tensor

from discrepancy.features.poses import Pose
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis

logger = logging.getLogger(__name__)

CHANNELS: Final = 16
"""Channels that are compared: few, so that few images tell something."""
HELD_OUT: Final = 4
"""One image in so many is held out."""
MOST_IMAGES: Final = 64
"""Training images that are looked at."""
TINY: Final = 1e-6
"""Smallest distance to divide by: images without any structure have none."""
LARGEST_RATIO: Final = 2.0
"""Largest ratio of the distances of good images in a pose to those of good images as they are."""


def distances_in_poses(learnt: Tensor, in_poses: Sequence[Tensor], ridge: float) -> list[float]:
    """Return the mean squared Mahalanobis distance of images in each pose from Gaussians that know no copies.

    Args:
        learnt: vectors of good images as they are, [N, P, d], that the Gaussians are fitted to.
        in_poses: vectors of other good images in each pose, [M, P, d] each.
        ridge: added to the covariances' diagonal.
    """
    _, positions, channels = learnt.shape
    statistics = GaussianStatistics(positions, channels, learnt.device)
    statistics.update(learnt)
    mean = statistics.mean.float()
    whitening = statistics.whitening(ridge)
    return [float(mahalanobis(vectors, mean, whitening).square().double().mean()) for vectors in in_poses]


def plausible_poses(
    poses: Sequence[Pose], distances: Sequence[float], largest_ratio: float = LARGEST_RATIO
) -> list[Pose]:
    """Return the poses in which good images are nearly as close to what was learnt as they are as photographed.

    Args:
        poses: the image as it is first.
        distances: mean squared distance of held-out good images in each pose.
        largest_ratio: of such a distance to that of the images as they are.
    """
    ratios = [distance / max(distances[0], TINY) for distance in distances]
    plausible = [poses[0], *(pose for pose, ratio in zip(poses[1:], ratios[1:], strict=True) if ratio <= largest_ratio)]
    listed = ", ".join(f"{pose} {ratio:.2f}" for pose, ratio in zip(poses[1:], ratios[1:], strict=True))
    logger.info(
        "padim: learns from %d of %d poses; distances relative to images as they are: %s",
        len(plausible),
        len(poses),
        listed,
    )
    return plausible
