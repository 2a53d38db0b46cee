"""Patch features, against averages taken by loops."""

import numpy as np
import pytest
import torch

from discrepancy.methods.patchcore.patches import patch_features, patch_grid, patch_length


def random_maps(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, *shape, generator=generator) for shape in shapes]


def slow_averages(values, mode):
    """Mean of each cell and its eight neighbours, [N, C, h, w]."""
    wide = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect" if mode == "reflect" else "constant")
    height, width = values.shape[2:]
    return sum(wide[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9


def slow_pooling(vector, length):
    """Adaptive averages: bin i holds the elements from floor(i n / length) up to ceil((i + 1) n / length)."""
    count = len(vector)
    bins = [vector[i * count // length : -((i + 1) * count // -length)] for i in range(length)]
    return np.array([part.mean() for part in bins])


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_neighbourhoods_are_averaged_and_layers_joined(padding):
    fine, coarse = random_maps((3, 6, 8), (5, 3, 4))
    found = patch_features([fine, coarse], dimension=None, padding=padding).numpy()
    assert found.shape == (2, 6, 8, 8)
    expected = slow_averages(fine.double().numpy(), padding).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[..., :3], expected, atol=1e-6)
    # Bilinear upsampling by 2: between cell centres, a quarter and three quarters.
    averages = slow_averages(coarse.double().numpy(), padding)
    np.testing.assert_allclose(found[:, 0, 0, 3:], averages[:, :, 0, 0], atol=1e-6)
    row = 0.75 * averages[:, :, 1] + 0.25 * averages[:, :, 0]
    np.testing.assert_allclose(found[:, 2, 3, 3:], 0.75 * row[:, :, 1] + 0.25 * row[:, :, 2], atol=1e-6)


@pytest.mark.parametrize("dimension", [4, 7, 12])
def test_lengths_are_brought_together_as_in_the_paper(dimension):
    """Each layer to the common length, then both joined to it again."""
    maps = random_maps((3, 4, 4), (10, 4, 4))
    joined = patch_features(maps, dimension=None).double().numpy()
    found = patch_features(maps, dimension=dimension).numpy()
    for place in np.ndindex(2, 4, 4):
        layers = [slow_pooling(part, dimension) for part in (joined[place][:3], joined[place][3:])]
        np.testing.assert_allclose(found[place], slow_pooling(np.concatenate(layers), dimension), atol=1e-6)


def test_grid_and_length_are_known_beforehand():
    shapes = {"fine": (3, 6, 8), "coarse": (5, 3, 4)}
    found = patch_features(random_maps(*shapes.values()), dimension=None)
    assert found.shape[1:] == (*patch_grid(shapes), patch_length(shapes, None))
    assert patch_features(random_maps(*shapes.values()), dimension=6).shape[3] == patch_length(shapes, 6)
