"""Latent dimension of DFR: number of principal components that explain a share of the variance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.errors import InputError


@dataclass(frozen=True)
class LatentDimension:
    """The latent dimension of DFR's autoencoder, and the statistics that decided it.

    Attributes:
        dimension: the smallest number of components that explain more than the target share of the variance.
        explained: share of the variance that they explain, in (0, 1]; None if the dimension was given.
        channels: of the features.
        vectors: number of feature vectors used.
    """

    dimension: int
    explained: float | None
    channels: int
    vectors: int


def latent_dimension(batches: Iterable[Tensor], *, explained: float = 0.90) -> LatentDimension:
    """Return the number of principal components that explain more than a target share of the variance.

    It is computed from the eigenvalues of the covariance, summed in float64: the choice of scikit-learn's
    `PCA(n_components=0.90)` without its singular value decomposition of all vectors.

    Args:
        batches: feature vectors [n, C], any number of batches, all of one device and C.
        explained: target share of the variance, in (0, 1).

    Raises:
        InputError: no vectors, values that are not finite, or all vectors alike.
    """
    count, shift, total, products = 0, None, None, None
    for batch in batches:
        values = batch.double()
        # Covariances do not change under a shift; near the mean the difference below keeps its digits.
        shift = values.mean(0) if shift is None else shift
        values = values - shift
        sums, squares = values.sum(0), values.T @ values
        total = sums if total is None else total + sums
        products = squares if products is None else products + squares
        count += len(values)
    if total is None or products is None:
        raise InputError("the latent dimension needs features of at least one image; none were given")
    mean = total / count
    variances = _variances(products / count - mean[:, None] * mean)
    shares = np.cumsum(variances) / variances.sum()
    # Strictly more than the share, as scikit-learn has it; rounding may keep even all of them just below 1.
    dimension = min(int(np.searchsorted(shares, explained, side="right")) + 1, len(shares))
    return LatentDimension(dimension, float(shares[dimension - 1]), len(shares), count)


def _variances(covariance: Tensor) -> NDArray[np.float64]:
    """Return the eigenvalues of a covariance [C, C], the largest first, none below 0."""
    if not bool(covariance.isfinite().all()):
        raise InputError("the features are not finite; expected other weights or cache_dtype=float32")
    values: NDArray[np.float64] = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0).cpu().numpy()
    if values[0] <= 0:
        raise InputError("all feature vectors are alike: there is nothing to learn; expected images with some content")
    return values
