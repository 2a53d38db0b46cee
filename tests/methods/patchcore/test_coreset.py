"""The coreset, against the greedy choice by the matrix of all distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import cdist
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from discrepancy.methods.patchcore.coreset import greedy_k_center, random_projection


def slow_k_center(points, count, first):
    """Algorithm 1 of the paper, with all distances at hand."""
    distances, chosen = cdist(points, points), [first]
    while len(chosen) < count:
        nearest = distances[:, chosen].min(1)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


def radii(points, chosen):
    """Largest distance to the coreset, for each of its sizes."""
    return np.minimum.accumulate(cdist(points, points[chosen]), axis=1).max(0)


@pytest.mark.parametrize("kind", ["scattered", "clusters", "line"])
@pytest.mark.parametrize("first", [0, 217])
def test_the_choice_is_that_by_all_distances(kind, first):
    rng = np.random.default_rng(3)
    points = rng.normal(size=(400, 6))
    if kind == "clusters":  # here the triangle inequality leaves most distances out
        points = 0.05 * points + 4 * rng.normal(size=(10, 6))[rng.integers(10, size=400)]
    elif kind == "line":
        points[:, 1:] = 0
    points = points.astype(np.float32)
    assert greedy_k_center(points, 60, first=first).tolist() == slow_k_center(points, 60, first)


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.integers(-3, 3)),
    st.data(),
)
def test_each_point_is_chosen_once_and_the_covering_radius_never_grows(points, data):
    """Whole numbers: many points are alike, and many distances are ties."""
    count = data.draw(st.integers(1, len(points)))
    first = data.draw(st.integers(0, len(points) - 1))
    chosen = greedy_k_center(points, count, first=first)
    assert len(set(chosen.tolist())) == count and chosen[0] == first
    found = radii(points, chosen)
    assert (np.diff(found) <= 0).all()
    np.testing.assert_allclose(found, radii(points, slow_k_center(points.astype(float), count, first)))
    assert greedy_k_center(points, count, first=first).tolist() == chosen.tolist()


def test_a_smaller_coreset_is_the_beginning_of_a_larger_one():
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert greedy_k_center(points, 10).tolist() == greedy_k_center(points, 40)[:10].tolist()


def test_a_projection_keeps_distances_as_johnson_and_lindenstrauss_say():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 2000))
    components = int(johnson_lindenstrauss_min_dim(40, eps=0.5))
    matrix = random_projection(2000, components, seed=1)
    assert matrix.shape == (2000, components) and matrix.dtype == np.float32
    between = np.triu_indices(40, 1)
    ratio = (cdist(points @ matrix, points @ matrix) ** 2)[between] / (cdist(points, points) ** 2)[between]
    assert ratio.min() > 0.5 and ratio.max() < 1.5 and ratio.mean() == pytest.approx(1, abs=0.1)


def test_a_seed_stands_for_a_projection():
    same = random_projection(20, 5, seed=2**40 + 1)
    np.testing.assert_array_equal(random_projection(20, 5, seed=2**40 + 1), same)
    assert (random_projection(20, 5, seed=2) != same).any()
