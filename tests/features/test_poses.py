"""Poses against NumPy's turns."""

import numpy as np
import pytest
import torch

from discrepancy.features.poses import poses


@pytest.mark.parametrize(
    ("augmentation", "size", "count"),
    [
        ("none", (6, 6), 1),
        ("flips", (6, 6), 4),
        ("rotations", (6, 6), 8),
        ("rotations", (6, 4), 4),
        ("flips", (6, 4), 4),
    ],
)
def test_every_pose_once_and_the_image_as_it_is_first(augmentation, size, count):
    images = torch.arange(2 * 3 * size[0] * size[1]).view(2, 3, *size)
    copies = [pose(images) for pose in poses(augmentation, size)]
    assert len(copies) == count and torch.equal(copies[0], images)
    assert all(copy.shape == images.shape for copy in copies)
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == count
    turned = [np.rot90(images.numpy(), quarters, (2, 3)) for quarters in range(4)]
    known = [tuple(one.ravel()) for turn in turned for one in (turn, turn[..., ::-1])]
    assert all(tuple(copy.flatten().tolist()) in known for copy in copies)


def test_poses_are_named_in_words():
    named = [str(pose) for pose in poses("flips", (6, 6))]
    assert named == ["as it is", "turned by 180 degrees", "mirrored", "turned by 180 degrees, mirrored"]
