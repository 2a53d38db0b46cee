"""A Gaussian at each position: mean and covariance from one pass over the images, and distances from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PIECE = 1 << 26
"""Bytes of float64 matrices that are factorised at a time."""


class GaussianStatistics:
    """Mean and covariance of vectors at each of P positions, from images that come in batches.

    Batches are combined exactly (Chan, Golub and LeVeque 1983): sums of squares are of deviations from the mean, which
    keeps their digits where means are large. The product adds the shift of the mean as one more vector of the batch.

    Args:
        positions: P.
        channels: length d of the vectors.
        device: where to compute; takes 4 P d^2 bytes there.
    """

    def __init__(self, positions: int, channels: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(positions, channels, dtype=torch.float64, device=device)
        self._products = torch.zeros(positions, channels, channels, device=device)

    def update(self, vectors: Tensor) -> None:
        """Add a batch of images.

        Args:
            vectors: float32 [N, P, d].
        """
        count, total = len(vectors), self.count + len(vectors)
        mean = vectors.mean(0)
        shift = mean - self.mean
        deviations = torch.empty(count + 1, *vectors.shape[1:], device=vectors.device)
        torch.sub(vectors, mean, out=deviations[:count])
        deviations[count] = shift * math.sqrt(count * self.count / total)
        by_position = deviations.transpose(0, 1)
        self._products.baddbmm_(by_position.mT, by_position)
        self.mean += shift * (count / total)
        self.count = total

    def whitening(self, ridge: float) -> Tensor:
        """Return W [P, d, d], lower triangular, with W^T W the inverse of the covariance plus ridge times identity.

        Takes the place of the statistics, so that no second array of their size is needed: use them no more.

        Args:
            ridge: what is added to the covariance's diagonal, larger than 0 (0.01 in the paper): with fewer images
                than channels the covariance has no inverse.
        """
        matrices = self._products
        channels = matrices.shape[-1]
        identity = torch.eye(channels, dtype=torch.float64, device=matrices.device)
        for piece in matrices.split(max(1, PIECE // (8 * channels**2))):
            covariance = piece.double() / max(self.count - 1, 1)  # as in equation 1; of a single image it is 0
            factor = torch.linalg.cholesky(covariance + ridge * identity)
            piece.copy_(torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False))
        return matrices


def mahalanobis(vectors: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Return the distances [N, P] of vectors from the Gaussian at their position (equation 2 of the paper).

    Args:
        vectors: [N, P, d].
        mean: [P, d].
        whitening: W [P, d, d], with W^T W the inverse of the covariance.
    """
    deviations = (vectors - mean).transpose(0, 1)
    return torch.bmm(deviations, whitening.mT).square_().sum(2).sqrt_().T
