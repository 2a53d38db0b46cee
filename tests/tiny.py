"""A tiny data set whose good images are easy to learn, and its cached features."""

import numpy as np
import pytest

from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData


def stripes(count, seed):
    """Grey stripes of varying phase and brightness, uint8 [count, 3, 96, 96]."""
    rng = np.random.default_rng(seed)
    phase, gain = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(70, 100, (count, 1, 1))
    wave = 128 + gain * np.sin(np.arange(96)[None, None, :] / 5 + phase)
    noisy = np.broadcast_to(wave, (count, 96, 96)) + rng.normal(0, 2, (count, 96, 96))
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[:, None], 3, axis=1)


def unseen_and_defective():
    """Eight unseen images over copies with a turned patch, [16, 3, 96, 96], and the copies' masks [8, 96, 96]."""
    unseen = stripes(8, seed=1)
    defective, masks = unseen.copy(), np.zeros((8, 96, 96), bool)
    for i, (y, x) in enumerate(np.random.default_rng(2).integers(20, 60, (8, 2))):
        defective[i, :, y : y + 16, x : x + 16] = defective[i, :, y : y + 16, x : x + 16].transpose(0, 2, 1)
        masks[i, y : y + 16, x : x + 16] = True
    return np.concatenate([unseen, defective]), masks


def training_data(features, examples, images=None, **prepared):
    """What a method learns from; images that no loss looks at are black."""
    images = np.zeros((features.count, 3, 96, 96), np.uint8) if images is None else images
    return TrainingData(images, features, examples, prepared)


class Killed(BaseException):
    """The end of a process, as far as the code under test can tell."""


def killed_after(checkpoint, epochs):
    """The checkpoint, which kills the training once it holds so many epochs."""
    save = checkpoint.save

    def save_and_stop(state):
        save(state)
        if len(state["history"]) == epochs:
            raise Killed

    checkpoint.save = save_and_stop
    return checkpoint


@pytest.fixture(scope="session")
def good_images():
    return stripes(18, seed=0)


@pytest.fixture(scope="session")
def backbone():
    return build_backbone("tf_efficientnet_lite0", layers=["blocks.2", "blocks.4"])


@pytest.fixture(scope="session")
def features(good_images, backbone, tmp_path_factory):
    recipe = lazy_features(backbone, good_images, [str(i) for i in range(len(good_images))])
    return FeatureCache(tmp_path_factory.mktemp("cache")).get(recipe, progress=False)
