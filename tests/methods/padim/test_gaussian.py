"""Means, covariances and distances of PaDiM, against NumPy's covariance and SciPy's Mahalanobis distance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from discrepancy.methods.padim import gaussian
from discrepancy.methods.padim.gaussian import GaussianStatistics, mahalanobis


def vectors(images, positions=3, channels=5, *, seed=0, offset=0.0):
    """Correlated vectors, another Gaussian at each position, float32 [N, P, d]."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(positions, channels, channels))
    values = np.einsum("npc,pcd->npd", rng.normal(size=(images, positions, channels)), mixing)
    return torch.from_numpy(values + offset).float()


def fitted(values, *, batches=None, ridge=0.01):
    statistics = GaussianStatistics(*values.shape[1:])
    for batch in values.split(batches or len(values)):
        statistics.update(batch)
    return statistics.mean, statistics.whitening(ridge)


def slow_distances(values, new, ridge):
    """Covariance and distance of each position by libraries, in float64."""
    good, result = values.double().numpy(), np.empty(new.shape[:2])
    for position in range(good.shape[1]):
        covariance = np.cov(good[:, position].T) + ridge * np.eye(good.shape[2])
        inverse, mean = np.linalg.inv(covariance), good[:, position].mean(0)
        for image in range(len(new)):
            result[image, position] = scipy_mahalanobis(new[image, position].double().numpy(), mean, inverse)
    return result


@pytest.mark.parametrize("images", [3, 40], ids=["fewer than channels", "more"])
@pytest.mark.parametrize("offset", [0.0, 300.0], ids=["centred", "far from 0"])
def test_distances_are_those_of_numpy_and_scipy(images, offset):
    good, new = vectors(images, offset=offset), vectors(7, seed=1, offset=offset)
    mean, whitening = fitted(good, batches=4)
    found = mahalanobis(new, mean.float(), whitening)
    np.testing.assert_allclose(found, slow_distances(good, new, 0.01), rtol=2e-3 if images == 3 else 2e-4)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(1e-3, 1.0))
def test_batches_change_nothing(images, batches, ridge):
    good = vectors(images, seed=images)
    mean, whitening = fitted(good, ridge=ridge)
    in_batches = fitted(good, batches=batches, ridge=ridge)
    torch.testing.assert_close(in_batches[0], mean, rtol=1e-5, atol=1e-5)
    assert (in_batches[1] - whitening).abs().max() <= 1e-3 * whitening.abs().max()


def test_whitening_is_a_triangle_whose_square_is_the_inverse(monkeypatch):
    good = vectors(20)
    _, whitening = fitted(good)
    assert torch.equal(whitening, whitening.tril())
    for position in range(3):
        covariance = np.cov(good[:, position].double().numpy().T) + 0.01 * np.eye(5)
        square = whitening[position].double().T @ whitening[position].double()
        np.testing.assert_allclose(square, np.linalg.inv(covariance), rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(gaussian, "PIECE", 1)  # one position at a time
    torch.testing.assert_close(fitted(good)[1], whitening)


def test_a_single_image_leaves_the_ridge():
    """Its covariance is 0, so that distances are Euclidean ones over the ridge's root."""
    good, new = vectors(1), vectors(4, seed=1)
    mean, whitening = fitted(good, ridge=0.25)
    torch.testing.assert_close(mahalanobis(new, mean.float(), whitening), (new - good).norm(dim=2) / 0.5)


def test_good_vectors_are_as_far_as_they_have_channels():
    """The mean squared distance of the sample itself is d (N - 1) / N, whatever the covariance."""
    good = vectors(60)
    mean, whitening = fitted(good, ridge=1e-6)
    squares = mahalanobis(good, mean.float(), whitening).square().mean(0)
    torch.testing.assert_close(squares, torch.full((3,), 5 * 59 / 60), rtol=1e-3, atol=0)
