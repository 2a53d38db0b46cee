"""The latent dimension against scikit-learn's principal component analysis."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from discrepancy.errors import InputError
from discrepancy.methods.dfr.latent import latent_dimension


def correlated(count, channels, decay, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((channels, channels)) * decay ** np.arange(channels)[:, None]
    return rng.standard_normal((count, channels)) @ mixing + rng.uniform(-50, 50, channels)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(60, 300),
    channels=st.integers(2, 50),
    decay=st.floats(0.6, 1.0),
    explained=st.floats(0.05, 0.99),
    seed=st.integers(0, 1000),
    pieces=st.integers(1, 4),
)
def test_equals_scikit_learn(count, channels, decay, explained, seed, pieces):
    vectors = correlated(count, channels, decay, seed)
    expected = PCA(n_components=explained, svd_solver="full").fit(vectors)
    batches = [torch.from_numpy(part) for part in np.array_split(vectors, pieces)]
    found = latent_dimension(batches, explained=explained)
    assert found.dimension == expected.n_components_
    assert found.explained == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-9)
    assert (found.channels, found.vectors) == (channels, count)


def test_float32_features_far_from_zero():
    """Features are stored in float32 and are no smaller than 0; sums over them are in float64."""
    vectors = (correlated(4000, 30, 0.8, 3) + 1000).astype(np.float32)
    expected = PCA(n_components=0.9, svd_solver="full").fit(vectors.astype(np.float64)).n_components_
    assert latent_dimension(torch.from_numpy(vectors).split(512), explained=0.9).dimension == expected


def test_strictly_more_than_the_share():
    """Four alike components, without rounding: two explain exactly a half, so more than a half takes a third."""
    signs = torch.eye(4, dtype=torch.float64)
    found = latent_dimension([torch.cat([signs, -signs])], explained=0.5)
    assert (found.dimension, found.explained) == (3, 0.75)


def test_nothing_to_look_at():
    with pytest.raises(InputError, match="at least one image"):
        latent_dimension([])
    with pytest.raises(InputError, match="alike"):
        latent_dimension([torch.ones(5, 3)])
    with pytest.raises(InputError, match="finite"):
        latent_dimension([torch.tensor([[1.0, torch.inf], [0.0, 1.0]])])
