"""Saving, loading and scoring: the same for every method."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from discrepancy.detection import LazyScores, load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.methods.base import new_card
from discrepancy.methods.dfc.model import DFC
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.smoothing import gaussian_blur, peak
from tests.tiny import training_data


@pytest.fixture
def detector(backbone, features):
    parameters = DFCParameters(width=16)
    card = new_card(DFC, parameters, backbone, image_size=(96, 96), data_digest="d")
    detector = DFC(backbone, parameters, card)
    detector.set_statistics(features.channel_statistics())
    detector.fit_residual_scaler(training_data(features, 2))
    return detector


def test_a_detector_comes_back_as_it_was(detector, good_images, tmp_path):
    images = torch.from_numpy(good_images[:2])
    save_method(detector, tmp_path / "a" / "detector")
    loaded = load_method(tmp_path / "a" / "detector")
    with torch.no_grad():
        assert torch.equal(loaded(images), detector.eval()(images))
    assert loaded.card.to_json() == json.loads(json.dumps(detector.card.to_json()))
    assert loaded.image_size == (96, 96) and not loaded.training


def test_a_detector_trained_on_a_gpu_loads_without_one(detector, tmp_path):
    detector.card.parameters["device"] = "cuda"
    save_method(detector, tmp_path / "detector")
    assert load_method(tmp_path / "detector").card.parameters["device"] == "cuda"


def test_only_the_trained_part_is_saved(detector, tmp_path):
    save_method(detector, tmp_path / "detector")
    names = set(load_file(tmp_path / "detector" / "weights.safetensors"))
    assert not any(name.startswith("backbone") for name in names)
    assert {f"estimator.{name}" for name, _ in detector.estimator.named_parameters()} <= names


def test_other_backbone_weights_are_refused(detector, tmp_path):
    save_method(detector, tmp_path / "detector")
    with pytest.raises(InputError, match="weights=/path"):
        load_method(tmp_path / "detector", weights="random:3")


@pytest.mark.parametrize("damage", ["no card", "no weights", "truncated", "other method", "other tensors"])
def test_a_damaged_detector_is_named(detector, tmp_path, damage):
    folder = tmp_path / "detector"
    save_method(detector, folder)
    card, weights = folder / "card.json", folder / "weights.safetensors"
    if damage == "no card":
        card.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "other method":
        card.write_text(card.read_text().replace('"method": "dfc"', '"method": "xyz"'))
    else:
        from safetensors.torch import save_file

        save_file({"surplus": torch.zeros(1)}, weights)
    with pytest.raises(InputError, match=str(folder)):
        load_method(folder)


def test_a_crash_while_saving_leaves_nothing(detector, tmp_path, monkeypatch):
    monkeypatch.setattr("discrepancy.detection.storage.json.dumps", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_method(detector, tmp_path / "detector")
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_it_is(detector, backbone):
    card = detector.card
    assert card.backbone.weights == backbone.digest and card.backbone.backbone == "tf_efficientnet_lite0"
    assert "sigma 4 px" in card.image_score.rule and card.thresholds is None
    assert card.versions["torch"].startswith(torch.__version__.split("+")[0])


def test_a_detector_saved_before_content_and_peaks_scores_as_then(backbone, tmp_path):
    """Its card knows none of these parameters, and its weights have none of what belongs to them."""
    absent = {"by_content": 0.0, "position_shift": 0, "peak_share": 0.0}
    parameters = DFCParameters(**absent, width=8, device="cpu")
    card = new_card(DFC, parameters, backbone, image_size=(96, 96), data_digest="d")
    detector = DFC(backbone, parameters, card).eval()
    save_method(detector, tmp_path / "old")
    path = tmp_path / "old/card.json"
    values = json.loads(path.read_text())
    values["parameters"] = {key: value for key, value in values["parameters"].items() if key not in absent}
    del values["image_score"]["share"]
    path.write_text(json.dumps(values | {"format": 2}))
    images = np.zeros((1, 3, 96, 96), np.uint8)
    images[..., 40:50, 40:50] = 255
    with torch.inference_mode():
        found, expected = load_method(tmp_path / "old").score(images), detector.score(images)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sigma", [0.8, 4.0])
def test_blur_is_scipys(sigma):
    maps = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32)
    expected = np.stack([gaussian_filter(m.astype(np.float64), sigma, mode="mirror", truncate=4.0) for m in maps])
    np.testing.assert_allclose(gaussian_blur(torch.from_numpy(maps), sigma).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_no_blur_is_no_change():
    maps = torch.rand(2, 5, 5)
    assert gaussian_blur(maps, 0.0) is maps
    assert gaussian_blur(maps, 50.0).shape == maps.shape  # wider than the map


def test_image_score_is_the_mean_of_the_smoothed_maps_highest_values(detector):
    maps = torch.rand(3, 96, 96)
    smooth = [gaussian_filter(m.double().numpy(), 4.0, mode="mirror", truncate=4.0) for m in maps]
    expected = [np.sort(m.ravel())[-92:].mean() for m in smooth]  # 1 % of 96 x 96
    np.testing.assert_allclose(detector.image_scores(maps).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(peak(torch.from_numpy(np.stack(smooth)), 0.0), [m.max() for m in smooth])


def test_maps_do_not_depend_on_the_batch_size(detector, good_images):
    one, many = (
        LazyScores(detector, good_images[:7], torch.device("cpu"), batch_size=size).computed().maps for size in (1, 3)
    )
    assert one.dtype == np.float32 and one.shape == (7, 96, 96)
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-4)


def test_maps_and_scores_come_in_pieces_and_are_timed(detector, good_images):
    lazy = LazyScores(detector, good_images[:7], torch.device("cpu"), batch_size=3)
    pieces, whole = list(lazy.pieces()), lazy.computed()
    assert [len(piece.maps) for piece in pieces] == [3, 3, 1] and lazy.shape == whole.maps.shape == (7, 96, 96)
    np.testing.assert_array_equal(whole.maps, np.concatenate([piece.maps for piece in pieces]))
    with torch.inference_mode():
        expected = detector.image_scores(torch.from_numpy(whole.maps)).numpy()
    np.testing.assert_allclose(whole.image_scores, expected, rtol=1e-5)
    assert whole.seconds > 0 and whole.images_per_second == pytest.approx(7 / whole.seconds)


def test_random_weights_have_their_own_digest():
    assert (
        build_backbone("tf_efficientnet_lite0", weights="random:1").digest
        != build_backbone("tf_efficientnet_lite0", weights="random:2").digest
    )
