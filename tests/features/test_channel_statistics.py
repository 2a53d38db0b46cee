"""Streaming statistics equal numpy's over everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from discrepancy.features.statistics import ChannelStatistics


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_equal_to_numpy(maps):
    table = ChannelStatistics(maps.shape[3])
    for image in maps:
        table.update(image)
    exact = maps.astype(np.float64)
    np.testing.assert_allclose(table.mean, exact.mean(axis=(0, 1, 2)), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(table.std, exact.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-9)


def test_a_mean_far_above_the_spread_costs_no_digits():
    maps = 1e8 + np.random.default_rng(0).standard_normal((5, 8, 8, 1))
    table = ChannelStatistics(1)
    for image in maps:
        table.update(image)
    assert table.std[0] == pytest.approx(maps.std(), rel=1e-6)
