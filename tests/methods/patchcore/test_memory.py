"""The nearest item of the memory and the weight of an image score, by their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from discrepancy.methods.patchcore import memory as module
from discrepancy.methods.patchcore.memory import nearest, reweighted


def random_vectors(count, *, seed, offset=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(offset, 1, (count, 6))).float()


@pytest.mark.parametrize("offset", [0.0, 50.0], ids=["centred", "far from 0"])
def test_the_nearest_item_is_that_by_all_distances(monkeypatch, offset):
    monkeypatch.setattr(module, "ROWS", 7)
    patches, memory = random_vectors(30, seed=0, offset=offset), random_vectors(40, seed=1, offset=offset)
    every = cdist(patches.double(), memory.double())
    distances, indices = nearest(patches, memory)
    np.testing.assert_allclose(distances, every.min(1), rtol=1e-3 if offset else 1e-6)
    np.testing.assert_allclose(distances, every[np.arange(30), indices], rtol=1e-5)


def test_what_the_memory_holds_is_at_distance_0():
    memory = random_vectors(40, seed=1, offset=3.0)
    distances, indices = nearest(memory, memory)
    assert indices.tolist() == list(range(40)) and not distances.any()


def slow_weight(patch, item, memory, neighbours):
    """Equation 7, in plain loops."""
    around = sorted(memory, key=lambda other: math.dist(other, memory[item]))[:neighbours]
    distance = math.dist(patch, memory[item])
    return (1 - math.exp(distance) / sum(math.exp(math.dist(patch, other)) for other in around)) * distance


@pytest.mark.parametrize("neighbours", [2, 3, 9, 40, 100])
def test_scores_are_weighed_by_the_formula(neighbours):
    patches, memory = random_vectors(8, seed=2, offset=0.5), random_vectors(40, seed=1)
    _, indices = nearest(patches, memory)
    expected = [
        slow_weight(patch, int(item), memory.double().tolist(), neighbours)
        for patch, item in zip(patches.double().tolist(), indices, strict=True)
    ]
    np.testing.assert_allclose(reweighted(patches, indices, memory, neighbours), expected, rtol=1e-5)


def test_without_neighbours_the_distance_is_the_score():
    patches, memory = random_vectors(8, seed=2), random_vectors(40, seed=1)
    distances, indices = nearest(patches, memory)
    torch.testing.assert_close(reweighted(patches, indices, memory, 1), distances)
    alone = memory[:1]  # a memory of one item has none
    torch.testing.assert_close(reweighted(patches, indices * 0, alone, 9), (patches - alone).norm(dim=1))


def test_large_distances_do_not_overflow():
    patches, memory = 1e4 * random_vectors(4, seed=2), random_vectors(40, seed=1)
    _, indices = nearest(patches, memory)
    assert torch.isfinite(reweighted(patches, indices, memory, 9)).all()
