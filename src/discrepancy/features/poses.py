"""Poses of a photograph: turned and mirrored copies, exact to the pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["none", "flips", "rotations"]


@dataclass(frozen=True)
class Pose:
    """A turn by quarters against the clock, then a mirroring of left and right, or not."""

    quarters: int
    mirrored: bool

    def __call__(self, images: Tensor) -> Tensor:
        """Return copies of images [N, C, H, W] in this pose; [N, C, W, H] after an odd number of quarters."""
        turned = torch.rot90(images, self.quarters, (-2, -1))
        return turned.flip(-1) if self.mirrored else turned

    def __str__(self) -> str:
        """Return it in words: `turned by 90 degrees, mirrored`."""
        turn = f"turned by {90 * self.quarters} degrees" if self.quarters else ""
        return ", ".join(part for part in (turn, "mirrored" if self.mirrored else "") if part) or "as it is"


def poses(augmentation: Augmentation, image_size: tuple[int, int]) -> list[Pose]:
    """Return the poses of an augmentation, the images as they are first.

    Args:
        augmentation: `none`, `flips` (left and right, top and bottom, both) or `rotations` (by quarters, and their
            mirror images: 8 poses).
        image_size: height and width; images that are not square are turned by halves only.
    """
    quarters = {"none": (0,), "flips": (0, 2), "rotations": (0, 1, 2, 3)}[augmentation]
    fitting = [count for count in quarters if count % 2 == 0 or image_size[0] == image_size[1]]
    mirrorings = (False,) if augmentation == "none" else (False, True)
    return [Pose(count, mirrored) for mirrored in mirrorings for count in fitting]
