"""Weights of members whose abilities are known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from discrepancy.methods.committee.weights import LEAST, Examples, learnt_weights, painted_copies, spread
from discrepancy.metrics import aupro


def examples(strengths, seed=0, count=12, size=48):
    """Noise maps, and masks to which each member adds so much."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), bool)
    for mask, (y, x) in zip(masks, rng.integers(4, size - 16, (count, 2)), strict=True):
        mask[y : y + 10, x : x + 10] = True
    good = rng.random((len(strengths), count, size, size))
    painted = rng.random((len(strengths), count, size, size)) + np.array(strengths)[:, None, None, None] * masks
    return Examples(torch.from_numpy(good).float(), torch.from_numpy(painted).float(), masks)


def test_weights_are_abilities_over_their_sum():
    """(2 AUROC - 1) x AUPRO, by scikit-learn, SciPy and a peak that is sorted out."""
    given = examples([1.0, 0.3, 0.15])
    found = learnt_weights(given, sigma=2.0, share=0.02)
    abilities = []
    for good, painted in zip(given.good.double().numpy(), given.painted.double().numpy(), strict=True):
        maps = np.concatenate([good, painted])
        smooth = [gaussian_filter(values, 2.0, mode="mirror", truncate=4.0) for values in maps]
        scores = [np.sort(values.ravel())[-round(0.02 * 48 * 48) :].mean() for values in smooth]
        masks = np.concatenate([np.zeros_like(given.masks), given.masks])
        abilities.append((2 * roc_auc_score(np.repeat([0, 1], 12), scores) - 1) * aupro(maps, masks))
    np.testing.assert_allclose(found, np.array(abilities) / sum(abilities), rtol=1e-4)
    assert found[0] > found[1] > found[2]


def test_a_member_that_finds_nothing_hardly_counts_but_is_not_negative():
    found = learnt_weights(examples([1.0, 0.0, -0.5]), sigma=1.0, share=0.0)
    assert found.sum() == pytest.approx(1) and found[0] > 0.8 and (found > 0).all()
    assert found[2] == pytest.approx(LEAST * float(found[0]), rel=0.4)


def test_the_spread_is_the_deviation_of_all_pixels():
    maps = torch.randn(2, 5, 8, 9, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 7.0]).view(
        2, 1, 1, 1
    )
    np.testing.assert_allclose(spread(maps), maps.numpy().reshape(2, -1).std(1, ddof=1), rtol=1e-5)
    assert (spread(torch.zeros(2, 3, 4, 4)) > 0).all()


def test_every_image_is_painted_as_often():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 80, 80), dtype=np.uint8)
    painted, masks = painted_copies(images, copies=2, seed=5)
    assert painted.shape == (6, 3, 80, 80) and masks.shape == (6, 80, 80)
    for index in range(6):
        changed = (painted[index] != images[index % 3]).any(0)
        assert changed[masks[index]].any() and changed.mean() < 0.2
    assert (painted_copies(images, copies=2, seed=5)[0] == painted).all()
    assert (painted_copies(images, copies=2, seed=6)[0] != painted).any()
