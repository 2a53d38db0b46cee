"""DFC: its loss, its map and its weighing against slow definitions, and what it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from discrepancy.errors import InputError
from discrepancy.methods import gradient
from discrepancy.methods.base import new_card
from discrepancy.methods.dfc.corruption import Corruption
from discrepancy.methods.dfc.model import DFC, build_estimator
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.dfc.training import DFCTask, build_corruption
from discrepancy.methods.residual_scaler import Compared
from discrepancy.metrics import auroc
from discrepancy.training.loop import Checkpoint, fit
from tests.tiny import Killed, killed_after, training_data, unseen_and_defective

CPU = torch.device("cpu")
SMALL = {"width": 16, "batch_size": 4, "image_smoothing": 0.0}


def build(backbone, features=None, **changes):
    parameters = DFCParameters(**{**SMALL, **changes})
    card = new_card(DFC, parameters, backbone, image_size=(96, 96), data_digest="d")
    detector = DFC(backbone, parameters, card)
    if features is not None and parameters.standardise:
        detector.set_statistics(features.channel_statistics())
    return detector


def test_loss_is_the_papers_formula(backbone, features, good_images):
    """L = mean over layers of MSE(S(n), T(n)) + alpha MSE(S(a), T(n)), with two separate passes of S."""
    detector = build(backbone, features, corrupted_weight=0.7)
    problem = DFCTask(detector, training_data(features, 16, good_images), Corruption(("noise",)))
    indices = np.array([3, 11, 5])
    batch = problem.batch(2, indices)
    clean = torch.from_numpy(good_images[indices])
    corrupted = torch.from_numpy(
        np.stack([Corruption(("noise",))(good_images[i], np.random.default_rng([0, 2, i]))[0] for i in indices])
    )
    teacher = backbone(clean)
    expected = 0.0
    for layer in ("blocks.2", "blocks.4"):
        mean, std = (torch.from_numpy(v).float().view(1, -1, 1, 1) for v in features.channel_statistics()[layer])
        target = (teacher[layer] - mean) / std
        for images, weight in ((clean, 1.0), (corrupted, 0.7)):
            expected += weight * ((detector.estimator(images / 255)[layer] - target) ** 2).mean() / 2
    assert problem.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_takes_only_the_estimation_network(backbone, features, good_images):
    detector = build(backbone, features)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    problem = DFCTask(detector, training_data(features, 16, good_images), Corruption(("noise",)))
    problem.loss(problem.batch(0, np.arange(4))).backward()
    assert all(parameter.grad is None for parameter in detector.backbone.parameters())
    assert all(parameter.grad is not None for parameter in detector.estimator.parameters())
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())


@pytest.mark.parametrize("align_corners", [True, False])
def test_map_is_the_sum_of_upsampled_errors(backbone, good_images, align_corners):
    """The paper's map: every layer's error upsampled by itself, then added."""
    detector = build(backbone, standardise=False, residuals="raw", by_position=False, align_corners=align_corners)
    images = torch.from_numpy(good_images[:2])
    expected = torch.zeros(2, 96, 96)
    with torch.no_grad():
        predictions = detector.estimator(images / 255)
        for layer in ("blocks.2", "blocks.4"):
            error = ((backbone(images)[layer] - predictions[layer]) ** 2).mean(1, keepdim=True)
            expected += F.interpolate(error, (96, 96), mode="bilinear", align_corners=align_corners)[:, 0]
        torch.testing.assert_close(detector(images), expected, rtol=1e-4, atol=1e-5)


def test_smoothing_smooths_the_map(backbone, good_images):
    plain, smooth = (build(backbone, smoothing=sigma) for sigma in (0.0, 3.0))
    images = torch.from_numpy(good_images[:1])
    with torch.no_grad():
        expected = gaussian_filter(plain(images)[0].double().numpy(), 3.0, mode="mirror", truncate=4.0)
        torch.testing.assert_close(smooth(images)[0].double().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_weighing_is_learnt_from_the_residuals_of_the_rows_asked_for(backbone, features, good_images):
    detector = build(backbone, features, position_shift=0)
    detector.fit_residual_scaler(training_data(features, 5, good_images))
    twin = build(backbone, features)
    twin.estimator.load_state_dict(detector.estimator.state_dict())
    with torch.no_grad():
        images = torch.from_numpy(good_images[:5])
        predictions = twin.estimator(images / 255)
        targets = twin.standardised(backbone(images))
        residuals = [t - p for t, p in zip(targets, predictions.values(), strict=True)]
    compared = Compared(residuals, list(predictions.values()))
    twin.weighing.fit_errors(lambda: [compared])
    twin.weighing.fit_position([twin.weighing(compared)])
    for name, value in twin.weighing.state_dict().items():
        torch.testing.assert_close(detector.weighing.state_dict()[name], value, rtol=2e-3, atol=2e-3)


def test_what_is_usual_at_a_position_comes_from_shifted_copies(backbone, features, good_images):
    """By a table of copies that is made with NumPy's padding, image by image."""
    data = training_data(features, 5, good_images)
    detector = build(backbone, features, position_shift=3, seed=7)
    detector.fit_residual_scaler(data)
    twin = build(backbone, features, seed=7)
    twin.weighing.fit_errors(lambda: twin.compared_batches(data))
    maps = []
    with torch.no_grad():
        for row, image in enumerate(good_images[:5]):
            down, right = np.random.default_rng([7, row]).integers(-3, 4, 2)
            padded = np.pad(image, ((0, 0), (3, 3), (3, 3)), mode="reflect")
            copy = torch.from_numpy(padded[None, :, 3 + down : 99 + down, 3 + right : 99 + right].copy())
            maps.append(twin.error_maps(twin.backbone(copy), copy))
        twin.weighing.fit_position([torch.cat(maps)])
    for name, value in twin.weighing.state_dict().items():
        torch.testing.assert_close(detector.weighing.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    without = build(backbone, features, by_position=False)
    without.fit_residual_scaler(data)
    assert "position" not in without.weighing.state_dict()


def test_it_learns_what_good_looks_like(backbone, features, good_images):
    """After a short training, painted-over patches of unseen images score higher than the unseen images themselves."""
    detector = build(backbone, features, epochs=30, learning_rate=3e-3)
    problem = DFCTask(
        detector, training_data(features, 16, good_images), build_corruption(detector.parameters_used, (96, 96))
    )
    settings = detector.parameters_used.training(problem.examples)
    history = fit(detector.estimator, problem, settings, device=CPU, progress=False)
    detector.fit_residual_scaler(training_data(features, 16, good_images))
    assert history[-1].loss < 0.6 * history[0].loss
    assert history[-1].validation_loss < 0.8 * history[0].validation_loss
    images, masks = unseen_and_defective()
    with torch.no_grad():
        maps = detector(torch.from_numpy(images))
        scores = detector.image_scores(maps).numpy()
    assert auroc(scores, np.repeat([0, 1], 8)) > 0.9
    assert auroc(maps[8:].numpy(), masks) > 0.85


def test_killed_training_resumes_with_the_same_bits(backbone, features, good_images, tmp_path):
    def train(checkpoint):
        detector = build(backbone, features, epochs=4)
        problem = DFCTask(detector, training_data(features, 16, good_images), Corruption())
        settings = detector.parameters_used.training(16)
        fit(detector.estimator, problem, settings, device=CPU, checkpoint=checkpoint, progress=False)
        return detector.estimator.state_dict()

    whole = train(None)
    with pytest.raises(Killed):
        train(killed_after(Checkpoint(tmp_path / "c.pt", "x"), 2))
    resumed = train(Checkpoint(tmp_path / "c.pt", "x"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_processes_hand_back_what_they_learnt_also_where_no_checkpoint_is_kept(
    backbone, features, good_images, monkeypatch
):
    """The training in this process only restores it: its history has the same seconds."""
    histories = []
    monkeypatch.setattr(gradient, "fit", lambda *given, **more: histories.append(fit(*given, **more)) or histories[-1])
    monkeypatch.setattr(gradient, "run_distributed", lambda count, device, function, given: function(*given))
    detector = build(backbone, features, epochs=2, processes=2, device="cpu", by_position=False)
    detector.fit(training_data(features, 4, good_images))
    assert len(histories) == 2 and histories[0] == histories[1]


def test_the_seed_decides_the_start(backbone):
    first, same, other = (build(backbone, seed=seed).estimator.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])
    state = torch.random.get_rng_state()
    build(backbone, seed=5)
    assert torch.equal(state, torch.random.get_rng_state())


def test_fingerprints_tell_runs_apart(features):
    def print_of(parameters, examples=16):
        return parameters.fingerprint(features, examples=examples)

    base = DFCParameters()
    assert print_of(base) != print_of(base, examples=15)
    assert print_of(base) == print_of(DFCParameters(device="cpu", checkpoint_every=7, smoothing=2))
    for change in ({"epochs": 21}, {"seed": 1}, {"learning_rate": 2e-3}, {"corruptions": ["noise"]}, {"width": 32}):
        assert print_of(base) != print_of(DFCParameters(**change))


def test_layers_by_category():
    parameters = DFCParameters(layers=["a"], layers_by_category={"wood": ["b"]})
    assert parameters.layers_of("wood") == ["b"] and parameters.layers_of("cable") == ["a"]


def test_the_papers_network_needs_vgg19(backbone):
    with pytest.raises(InputError, match="tf_efficientnet_lite0"):
        build_estimator(backbone, DFCParameters(estimator="vgg19"))


def test_images_too_small_for_the_dilated_convolutions_are_refused(backbone):
    parameters = DFCParameters(width=16)
    for size, fits in (((72, 72), True), ((71, 200), False)):
        card = new_card(DFC, parameters, backbone, image_size=size, data_digest="d")
        if fits:
            with torch.no_grad():
                assert DFC(backbone, parameters, card)(torch.zeros(1, 3, *size, dtype=torch.uint8)).shape == (1, *size)
        else:
            with pytest.raises(InputError, match="71x200"):
                DFC(backbone, parameters, card)
