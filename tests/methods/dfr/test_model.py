"""DFR: its maps and its statistics against slow definitions, and what it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from discrepancy.detection import load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import new_card
from discrepancy.methods.dfr.latent_step import choose_latent_dimension
from discrepancy.methods.dfr.model import DFR, DFRTask
from discrepancy.methods.dfr.parameters import DEFAULT_LAYERS, DFRParameters
from discrepancy.methods.dfr.regions import Regions, build_regions
from discrepancy.metrics import auroc
from discrepancy.training.loop import Checkpoint, fit
from tests.tiny import Killed, killed_after, training_data, unseen_and_defective

CPU = torch.device("cpu")
LAYERS = ["blocks.1", "blocks.2", "blocks.4"]


@pytest.fixture(scope="module")
def network():
    return build_backbone("tf_efficientnet_lite0", layers=LAYERS)


@pytest.fixture(scope="module")
def regional(good_images, network, tmp_path_factory):
    """Cached regional features of the good images by the default parameters."""
    regions = build_regions(network, DFRParameters(), (96, 96))
    recipe = lazy_features(network, good_images, [str(i) for i in range(len(good_images))], reduction=regions)
    return FeatureCache(tmp_path_factory.mktemp("regional")).get(recipe, progress=False)


def build(network, features=None, latent_dim=16, **changes):
    parameters = DFRParameters(**{"image_smoothing": 0.0, **changes})
    card = new_card(
        DFR,
        parameters,
        network,
        image_size=(96, 96),
        data_digest="d",
        latent_dim=latent_dim,
    )
    detector = DFR(network, parameters, card)
    if features is not None and parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    return detector


@pytest.mark.parametrize("standardise", [True, False])
def test_map_is_the_upsampled_mean_squared_residual(network, regional, good_images, standardise):
    """The paper's map, from regional features by their slow definition."""
    changes = {"standardise": standardise, "residuals": "raw", "by_position": False, "align_corners": True}
    detector = build(network, regional, **changes).eval()
    images = torch.from_numpy(good_images[:2])
    with torch.no_grad():
        maps = network(images)
        full = [F.interpolate(maps[layer], (96, 96), mode="bilinear") for layer in LAYERS]
        features = F.avg_pool2d(torch.cat(full, 1), 8)
        if standardise:
            statistics = regional.channel_statistics().values()
            mean, std = (torch.from_numpy(np.concatenate(values)).float() for values in zip(*statistics, strict=True))
            features = (features - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
        rows = features.permute(0, 2, 3, 1).flatten(0, 2)
        error = (detector.autoencoder(rows) - rows).square().mean(1).view(2, 1, 12, 12)
        expected = F.interpolate(error, (96, 96), mode="bilinear", align_corners=True)[:, 0]
        torch.testing.assert_close(detector(images), expected, rtol=1e-3, atol=1e-4)


def test_loss_from_the_cache_is_the_loss_of_the_images(network, regional, good_images):
    detector = build(network, regional)
    problem = DFRTask(detector, training_data(regional, 16))
    indices = np.array([3, 11, 5])
    kept = detector.regions.reduced(network(torch.from_numpy(good_images[indices])))
    rows = torch.cat(
        [
            detector.regions.expand(group.name, values).flatten(0, 2)
            for group, values in zip(detector.regions.groups, detector.standardised(kept), strict=True)
        ],
        1,
    )
    expected = F.mse_loss(detector.autoencoder(rows), rows)
    assert problem.loss(problem.batch(7, indices)).item() == pytest.approx(expected.item(), rel=1e-4)


def test_only_the_autoencoder_is_trained(network, regional):
    before = {key: value.clone() for key, value in build(network, regional).state_dict().items()}
    detector, _ = train(network, regional, epochs=1)
    for key, value in detector.state_dict().items():
        assert torch.equal(before[key], value) != key.startswith("autoencoder."), key


def test_features_kept_on_the_device_are_those_of_the_cache(network, regional, monkeypatch):
    monkeypatch.setattr("discrepancy.training.feature_task.COPIED_AT_ONCE", 5)
    detector = build(network, regional)
    resident = DFRTask(detector, training_data(regional, 16), resident=True)
    read = DFRTask(detector, training_data(regional, 16))
    assert read.resident is None and resident.resident is not None
    rows = np.array([17, 3, 9, 3])
    for name, values in read.batch(0, rows).items():
        kept = resident.batch(0, rows)[name]
        assert torch.equal(kept, values) and kept.stride() == values.stride()


def test_a_channel_that_hardly_stirs_does_not_rule(network, regional):
    """Its deviation counts as a tenth of the mean one."""
    statistics = {name: (mean, std.copy()) for name, (mean, std) in regional.channel_statistics().items()}
    name = next(iter(statistics))
    statistics[name][1][3] = 1e-9
    detector = build(network)
    detector.set_statistics(statistics)
    assert detector.get_buffer("deviation_0")[3] == pytest.approx(0.1 * statistics[name][1].mean(), rel=1e-6)
    assert detector.get_buffer("deviation_0")[4] == pytest.approx(statistics[name][1][4], rel=1e-6)


def test_validation_loss_is_that_of_the_held_out_images(network, regional, monkeypatch):
    detector = build(network, regional, batch_size=4).eval()
    problem = DFRTask(detector, training_data(regional, 11))
    with torch.no_grad():
        expected = problem.loss(regional.tensors(range(11, 18))).item()
        assert problem.validation_loss() == pytest.approx(expected, rel=1e-5)
        assert DFRTask(detector, training_data(regional, 18)).validation_loss() is None
        monkeypatch.setattr("discrepancy.training.feature_task.VALIDATION_IMAGES", 3)
        expected = problem.loss(regional.tensors(range(11, 14))).item()
        assert problem.validation_loss() == pytest.approx(expected, rel=1e-5)


def test_smoothing_smooths_the_map(network, good_images):
    plain, smooth = (build(network, smoothing=sigma).eval() for sigma in (0.0, 3.0))
    images = torch.from_numpy(good_images[:1])
    with torch.no_grad():
        expected = gaussian_filter(plain(images)[0].double().numpy(), 3.0, mode="mirror", truncate=4.0)
        torch.testing.assert_close(smooth(images)[0].double().numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("standardise", [True, False])
def test_latent_dimension_is_that_of_the_features_it_will_see(network, regional, standardise):
    parameters = DFRParameters(standardise=standardise, explained_variance=0.85)
    regions = build_regions(network, parameters, (96, 96))
    found = choose_latent_dimension(regions, regional, range(4), parameters)
    vectors = regions.joined(regional.tensors(range(4))).flatten(0, 2).double().numpy()
    if standardise:
        vectors = vectors / np.concatenate([std for _, std in regional.channel_statistics().values()])
    assert found.dimension == PCA(n_components=0.85, svd_solver="full").fit(vectors).n_components_
    assert found.vectors == 4 * 12 * 12 and found.channels == 24 + 40 + 112


def test_weighing_is_learnt_from_the_residuals_of_the_rows_asked_for(network, regional, good_images):
    detector = build(network, regional, position_shift=0)
    detector.fit_residual_scaler(training_data(regional, 5, good_images))
    twin = build(network, regional)
    twin.autoencoder.load_state_dict(detector.autoencoder.state_dict())
    plain = build(network, regional, residuals="raw", by_position=False)
    with torch.no_grad():
        rows = plain.eval().regions.reduced(network(torch.from_numpy(good_images[:5])))
        compared = plain._compared(rows)
    twin.weighing.fit_errors(lambda: [compared])
    twin.weighing.fit_position([twin.weighing(compared)])
    for name, value in twin.weighing.state_dict().items():
        torch.testing.assert_close(detector.weighing.state_dict()[name], value, rtol=5e-3, atol=5e-3)


def train(network, regional, checkpoint=None, **changes):
    detector = build(network, regional, **{"epochs": 30, **changes})
    problem = DFRTask(detector, training_data(regional, 16))
    settings = detector.parameters_used.training(16)
    return detector, fit(detector.autoencoder, problem, settings, device=CPU, checkpoint=checkpoint, progress=False)


def test_it_learns_what_good_looks_like(network, regional, good_images):
    """After a short training, painted-over patches of unseen images score higher than the unseen images themselves."""
    detector, history = train(network, regional)
    detector.fit_residual_scaler(training_data(regional, 16, good_images))
    assert history[-1].loss < 0.3 * history[0].loss
    assert history[-1].validation_loss < 0.3 * history[0].validation_loss
    images, masks = unseen_and_defective()
    with torch.no_grad():
        maps = detector(torch.from_numpy(images))
        scores = detector.image_scores(maps).numpy()
    assert auroc(scores, np.repeat([0, 1], 8)) > 0.9
    assert auroc(maps[8:].numpy(), masks) > 0.9


def test_killed_training_resumes_with_the_same_bits(network, regional, tmp_path):
    """Running statistics of batch normalisation are part of the state."""
    whole, _ = train(network, regional, epochs=4, checkpoint_every=1)
    with pytest.raises(Killed):
        train(network, regional, killed_after(Checkpoint(tmp_path / "c.pt", "x"), 2), epochs=4, checkpoint_every=1)
    resumed, history = train(network, regional, Checkpoint(tmp_path / "c.pt", "x"), epochs=4, checkpoint_every=1)
    assert len(history) == 4
    state = resumed.autoencoder.state_dict()
    assert "norms.0.running_mean" in state
    assert all(torch.equal(value, state[key]) for key, value in whole.autoencoder.state_dict().items())


def test_saved_and_loaded_it_gives_the_same_maps(network, regional, good_images, tmp_path):
    detector, _ = train(network, regional, epochs=2)
    detector.fit_residual_scaler(training_data(regional, 4))
    save_method(detector.eval(), tmp_path / "detector")
    loaded = load_method(tmp_path / "detector")
    images = torch.from_numpy(good_images[:2])
    assert torch.equal(loaded(images), detector(images))
    with pytest.raises(InputError, match="96x80"):
        loaded(images[..., :80])


def test_the_seed_decides_the_start(network):
    first, same, other = (build(network, seed=seed).autoencoder.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["linears.0.weight"], other["linears.0.weight"])


def test_fingerprints_tell_runs_apart(regional):
    def print_of(parameters, latent=16):
        return parameters.fingerprint(regional, examples=16, latent=latent)

    base = DFRParameters()
    assert print_of(base) != print_of(base, latent=17)
    assert print_of(base) == print_of(DFRParameters(device="cpu", checkpoint_every=7, smoothing=2))
    for change in ({"epochs": 7}, {"seed": 1}, {"batch_norm": False}, {"region": 4}, {"alignment": "nearest"}):
        assert print_of(base) != print_of(DFRParameters(**change))


def test_default_layers_exist():
    for name, layers in DEFAULT_LAYERS.items():
        backbone = build_backbone(name, layers=layers, weights="random")
        assert [layer.name for layer in backbone.layers] == layers
    assert (
        sum(
            layer.channels for layer in build_backbone("vgg19", layers=DEFAULT_LAYERS["vgg19"], weights="random").layers
        )
        == 3456
    )


def test_the_padding_quirk_is_vgg19s(network):
    with pytest.raises(InputError, match="tf_efficientnet_lite0"):
        build_regions(network, DFRParameters(padded_maps=True), (96, 96))
    with pytest.raises(InputError, match="region: 65"):
        build_regions(network, DFRParameters(region=65), (96, 96))
    vgg19 = build_backbone("vgg19", layers=["relu1_1", "relu1_2", "relu2_1"], weights="random")
    quirk, plain = (
        build_regions(vgg19, DFRParameters(padded_maps=value, region=4), (64, 64)) for value in (True, False)
    )
    assert isinstance(plain, Regions) and plain.identity["regions"]["padded"] == []
    assert quirk.identity["regions"]["padded"] == ["relu1_1", "relu2_1"]
