"""Local means and the mean image against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.fod.local_means import LocalMeans
from discrepancy.methods.fod.reference import lazy_mean


@settings(max_examples=30, deadline=None)
@given(height=st.integers(2, 6), width=st.integers(2, 6), padding=st.sampled_from(["zeros", "reflect"]))
def test_means_of_nine_neighbours(height, width, padding):
    values = torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = LocalMeans({"a": (3, height, width)}, padding=padding).reduced({"a": values})["a"]

    def at(y, x):
        if padding == "reflect":
            y, x = (abs(i) if i < n else 2 * n - 2 - i for i, n in ((y, height), (x, width)))
        inside = 0 <= y < height and 0 <= x < width
        return values[:, :, y, x] if inside else torch.zeros(2, 3, dtype=torch.float64)

    for y in range(height):
        for x in range(width):
            mean = sum(at(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
            torch.testing.assert_close(found[:, :, y, x], mean)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 3, 48, 64), np.uint8)


def recipe(images, padding="zeros"):
    backbone = build_backbone("tf_efficientnet_lite0", layers=["blocks.2", "blocks.4"], weights="random")
    means = LocalMeans(backbone.map_shapes(48, 64), padding=padding)
    return backbone, lazy_features(backbone, images, [str(i) for i in range(len(images))], reduction=means)


def test_a_cache_keeps_local_means(images, tmp_path):
    backbone, tokens = recipe(images)
    features = FeatureCache(tmp_path).get(tokens, progress=False)
    maps = backbone(torch.from_numpy(images[[4, 2]]))
    for name, values in features.tensors([4, 2]).items():
        expected = torch.nn.functional.avg_pool2d(maps[name], 3, 1, 1)
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)


def test_another_padding_is_another_cache(images):
    assert recipe(images)[1].fingerprint != recipe(images, "reflect")[1].fingerprint


def test_the_mean_image_is_the_mean_of_the_first_images_and_cached(images, tmp_path):
    cache = FeatureCache(tmp_path)
    features = cache.get(recipe(images)[1], progress=False)
    mean = lazy_mean(features, 17)
    assert not cache.has(mean)
    found = cache.get(mean, progress=False)
    assert found.count == 1 and cache.has(lazy_mean(features, 17)) and not cache.has(lazy_mean(features, 18))
    for name, values in found.items():
        expected = np.asarray(features[name][:17], np.float64).mean(0)
        np.testing.assert_allclose(values[0], expected, rtol=1e-6, atol=1e-6)
        assert values.dtype == np.float32
