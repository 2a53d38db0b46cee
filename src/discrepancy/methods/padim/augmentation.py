"""The choice of poses to learn from: those by which held-out good images become most likely."""

from __future__ import annotations

import logging
from typing import Final, get_args

import torch
from torch import Tensor

from discrepancy.features.poses import Augmentation, poses
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis

logger = logging.getLogger(__name__)

CHANNELS: Final = 16
"""Channels that are compared: few, so that few images tell something."""
HELD_OUT: Final = 4
"""One image in so many is held out."""
MOST_IMAGES: Final = 64
"""Training images that are looked at."""


def negative_log_likelihood(learnt: Tensor, held_out: Tensor, ridge: float) -> float:
    """Return the mean negative log-likelihood of vectors under Gaussians at their positions, without its constant.

    Args:
        learnt: vectors that the Gaussians are fitted to, [N, P, d].
        held_out: vectors [M, P, d].
        ridge: added to the covariances' diagonal.
    """
    _, positions, channels = learnt.shape
    statistics = GaussianStatistics(positions, channels, learnt.device)
    statistics.update(learnt)
    mean = statistics.mean.float()
    whitening = statistics.whitening(ridge)
    log_determinant = -2 * whitening.diagonal(dim1=1, dim2=2).log().sum(1)
    distances = mahalanobis(held_out, mean, whitening).square()
    return float((distances + log_determinant).double().mean() / 2)


def best_augmentation(vectors: Tensor, image_size: tuple[int, int], ridge: float) -> Augmentation:
    """Return the augmentation by which one good image in four is predicted best from the copies of the others.

    Args:
        vectors: of good images in all poses of `rotations`, in their order, [poses, N, P, d].
        image_size: height and width of the images, px.
        ridge: added to the covariances' diagonal.
    """
    every = poses("rotations", image_size)
    held_out = torch.arange(vectors.shape[1], device=vectors.device) % HELD_OUT == HELD_OUT - 1
    found = {}
    for name in get_args(Augmentation):
        rows = [every.index(pose) for pose in poses(name, image_size)]
        learnt = vectors[rows][:, ~held_out].flatten(0, 1)
        found[name] = negative_log_likelihood(learnt, vectors[0, held_out], ridge)
    best: Augmentation = min(found, key=lambda name: found[name])
    listed = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    logger.info("padim: augmentation %s (held-out negative log-likelihood: %s)", best, listed)
    return best
