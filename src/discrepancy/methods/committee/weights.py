"""Weights of a committee's members, learnt from held-out good images and from defects painted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.methods.committee.painted_defects import paint_defect
from discrepancy.methods.smoothing import gaussian_blur, peak
from discrepancy.metrics import aupro, auroc

LEAST = 0.02
"""Weight before normalisation of a member that finds nothing: none is left out for few images' sake."""

_AT_ONCE = 8
"""Maps that are smoothed at a time: smoothing takes the room of several more."""


@dataclass(frozen=True)
class Examples:
    """Maps of the members, of held-out good images and of copies with painted defects.

    Attributes:
        good: maps of each member, [members, N, H, W].
        painted: maps of each member, [members, M, H, W].
        masks: of the painted defects, bool [M, H, W].
    """

    good: Tensor
    painted: Tensor
    masks: NDArray[np.bool_]


def painted_copies(images: NDArray[np.uint8], *, copies: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint a defect on copies of good images.

    Args:
        images: uint8 [N, 3, H, W], RGB.
        copies: of each image.
        seed: of all draws.

    Returns:
        The copies, uint8 [N * copies, 3, H, W], and the masks of their defects, bool [N * copies, H, W].
    """
    rng = np.random.default_rng(seed)
    painted, masks = zip(*(paint_defect(image, rng) for _ in range(copies) for image in images), strict=True)
    return np.stack(painted), np.stack(masks)


def spread(maps: Tensor) -> Tensor:
    """Return the standard deviation [members] of the members' maps [members, N, H, W] of good images."""
    found = torch.stack([one.double().std() for one in maps])  # one member's copy at a time
    return found.clamp_min(1e-12).to(maps.dtype)


def learnt_weights(examples: Examples, *, sigma: float, share: float) -> Tensor:
    """Return the weight of each member, [members]; they add up to 1.

    A member counts by how well it finds painted defects, (2 AUROC - 1) of images times AUPRO: by itself, not in
    combination with the others, as few images would not tell more than that.

    Args:
        examples: what the members say.
        sigma: of the Gaussian that smooths maps before the image score's peak, px.
        share: of the map that the peak is.
    """
    pairs = zip(examples.good, examples.painted, strict=True)
    weights = torch.tensor([_ability(*pair, examples.masks, sigma, share) for pair in pairs])
    return weights / weights.sum()


def _ability(good: Tensor, painted: Tensor, masks: NDArray[np.bool_], sigma: float, share: float) -> float:
    maps = torch.cat([good, painted])
    labels = np.repeat([0, 1], [len(good), len(painted)])
    scores = torch.cat([peak(gaussian_blur(part, sigma), share) for part in maps.split(_AT_ONCE)])
    everywhere = np.concatenate([np.zeros(tuple(good.shape), bool), masks])
    return max(LEAST, (2 * auroc(scores.numpy(), labels) - 1) * aupro(maps.numpy(), everywhere))
