"""The choice of poses: distances against SciPy's, and the ratio that decides."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from discrepancy.features.poses import poses
from discrepancy.methods.padim.augmentation import distances_in_poses, plausible_poses


def test_distances_are_mean_squares_from_gaussians_of_the_images_as_they_are():
    rng = np.random.default_rng(0)
    learnt = rng.normal(5, 2, (12, 3, 4)).astype(np.float32)
    in_poses = [rng.normal(5, scale, (5, 3, 4)).astype(np.float32) for scale in (2, 6)]
    found = distances_in_poses(torch.from_numpy(learnt), [torch.from_numpy(part) for part in in_poses], ridge=0.1)
    inverses = [np.linalg.inv(np.cov(learnt[:, at].T) + 0.1 * np.eye(4)) for at in range(3)]
    for distance, vectors in zip(found, in_poses, strict=True):
        squares = [
            mahalanobis(vector[at], learnt[:, at].mean(0), inverses[at]) ** 2 for vector in vectors for at in range(3)
        ]
        assert distance == pytest.approx(np.mean(squares), rel=1e-4)


def test_poses_count_up_to_the_ratio_and_the_image_as_it_is_always_does():
    every = poses("flips", (6, 6))
    assert plausible_poses(every, [2.0, 4.0, 4.1, 1.0], largest_ratio=2.0) == [every[0], every[1], every[3]]
    assert plausible_poses(every, [2.0, 40.0, 40.0, 40.0], largest_ratio=0.5) == [every[0]]


def test_images_without_structure_keep_every_pose():
    every = poses("flips", (6, 6))
    assert plausible_poses(every, [0.0, 0.0, 0.0, 0.0]) == every
