"""PaDiM: its maps against slow definitions, what it learns, and that it is saved whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import mahalanobis

from discrepancy.detection.storage import load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.architectures import ARCHITECTURES
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.padim.parameters import PaDiMParameters
from discrepancy.metrics import auroc
from tests.tiny import unseen_and_defective


def build(backbone, images=18, **changes):
    parameters = PaDiMParameters(**{"channels": 20, "augmentation": "none", "device": "cpu", **changes})
    card = new_card(
        PaDiM, parameters, backbone, image_size=(96, 96), data_digest="d", images={"train": images, "validation": 0}
    )
    return PaDiM(backbone, parameters, card)


def trained(backbone, features, good_images, examples=18, **changes):
    detector = build(backbone, examples, **changes)
    assert detector.fit(TrainingData(good_images, features, examples)) is None
    return detector.eval()


def slow_maps(backbone, good_images, images, ridge):
    """Every channel, in float64: covariances by NumPy, distances by SciPy, position by position."""

    def joined(batch):
        first, second = (maps.double() for maps in backbone(torch.from_numpy(batch)).values())
        return torch.cat([first, second.repeat_interleave(2, 2).repeat_interleave(2, 3)], 1).numpy()

    good, new = joined(good_images), joined(images)
    distances = np.empty((len(images), *good.shape[2:]))
    for y, x in np.ndindex(*good.shape[2:]):
        at = good[:, :, y, x]
        inverse = np.linalg.inv(np.cov(at.T) + ridge * np.eye(at.shape[1]))
        distances[:, y, x] = [mahalanobis(vector, at.mean(0), inverse) for vector in new[:, :, y, x]]
    return F.interpolate(torch.from_numpy(distances)[:, None], (96, 96), mode="bilinear")[:, 0].numpy()


def test_maps_are_mahalanobis_distances_upsampled_and_smoothed(backbone, features, good_images):
    detector = trained(backbone, features, good_images, channels=None, ridge=1.0)
    images = unseen_and_defective()[0][7:9]
    expected = slow_maps(backbone, good_images, images, ridge=1.0)
    tensor = torch.from_numpy(images)
    with torch.inference_mode():
        raw = detector.anomaly_maps(backbone(tensor), tensor)
        np.testing.assert_allclose(raw, expected, rtol=1e-3)
        maps, scores = detector.score(images)
    smooth = np.stack([gaussian_filter(values, 4, mode="mirror") for values in expected])
    np.testing.assert_allclose(maps, smooth, rtol=1e-3)
    np.testing.assert_allclose(scores, smooth.max((1, 2)), rtol=1e-3)


@pytest.mark.parametrize("augmentation", ["flips", "rotations"])
def test_copies_count_as_images_of_their_own(backbone, features, good_images, augmentation):
    """As if they had been photographed too."""
    detector = trained(backbone, features, good_images, examples=5, channels=None, ridge=1.0, augmentation=augmentation)
    five = good_images[:5]
    turned = [np.rot90(five, count, (2, 3)) for count in ((0, 2) if augmentation == "flips" else range(4))]
    copies = np.concatenate([copy for one in turned for copy in (one, one[..., ::-1])])
    images = torch.from_numpy(unseen_and_defective()[0][7:9])
    with torch.inference_mode():
        raw = detector.anomaly_maps(backbone(images), images)
    expected = slow_maps(backbone, np.ascontiguousarray(copies), images.numpy(), ridge=1.0)
    np.testing.assert_allclose(raw, expected, rtol=2e-3)
    assert len(detector.card.to_json()["poses"]) == len(copies) // 5


def test_auto_learns_from_copies_of_parts_in_any_pose_but_not_of_those_in_one(backbone, good_images, tmp_path):
    """Stripes all run one way: only half turns look good. Half of them turned, they run any way."""
    turned = good_images.copy()
    turned[::2] = turned[::2].transpose(0, 1, 3, 2)
    found = []
    for images in (good_images, turned):
        features = FeatureCache(tmp_path).get(lazy_features(backbone, images, [str(hash(i.tobytes())) for i in images]))
        card = trained(backbone, features, images, augmentation="auto").card.to_json()
        assert card["poses"][0] == "as it is"
        found.append(card["poses"])
    one_way, any_way = found
    assert not any("90" in pose or "270" in pose for pose in one_way)
    assert any("90" in pose or "270" in pose for pose in any_way)


def test_only_training_images_count(backbone, features, good_images):
    some, all_of_them = (trained(backbone, features, good_images, examples=n) for n in (16, 18))
    images = torch.from_numpy(good_images[16:])
    assert some(images).mean() > 1.5 * all_of_them(images).mean()


def test_defects_are_found(backbone, features, good_images):
    detector = trained(backbone, features, good_images)
    images, masks = unseen_and_defective()
    with torch.inference_mode():
        maps, scores = detector.score(images)
    assert auroc(scores.numpy(), np.repeat([0, 1], 8)) > 0.9
    assert auroc(maps[8:].numpy(), masks) > 0.9


def test_maps_do_not_depend_on_the_batch(backbone, features, good_images):
    detector = trained(backbone, features, good_images)
    images = torch.from_numpy(unseen_and_defective()[0][:5])
    together, alone = detector(images), torch.cat([detector(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_seed_stands_for_a_detector(backbone, features, good_images):
    first, same, other = (trained(backbone, features, good_images, seed=seed).trained_state() for seed in (1, 1, 2))
    assert sorted(first) == ["mean", "whitening"]
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["mean"], other["mean"])


def test_saved_and_loaded_it_gives_the_same_maps(backbone, features, good_images, tmp_path):
    detector = trained(backbone, features, good_images, seed=3)
    save_method(detector, tmp_path / "detector")
    loaded = load_method(tmp_path / "detector")
    assert isinstance(loaded, PaDiM)
    images = unseen_and_defective()[0][:2]
    assert torch.equal(loaded(images), detector(images))
    with pytest.raises(InputError, match="96x80"):
        loaded(images[..., :80])


def test_more_channels_than_the_layers_have_are_refused_before_any_work(backbone):
    with pytest.raises(InputError, match=r"channels: 153 given; expected at most 152.*blocks.2, blocks.4"):
        PaDiM.reduction(backbone, PaDiMParameters(channels=153), (96, 96))
    assert PaDiM.reduction(backbone, PaDiMParameters(), (96, 96)) is None


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_default_layers_exist_and_have_enough_channels(name):
    parameters = PaDiMParameters(backbone=name)
    network = build_backbone(name, layers=parameters.layers_of("cable"), weights="random")
    assert sum(layer.channels for layer in network.layers) >= parameters.channels
