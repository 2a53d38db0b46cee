"""FOD: its scores against slow definitions, and what it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from discrepancy.detection import load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import new_card
from discrepancy.methods.fod.card import describe
from discrepancy.methods.fod.model import FOD, build_tokens, build_transformers
from discrepancy.methods.fod.parameters import DEFAULT_LAYERS, FODParameters
from discrepancy.methods.fod.reference import lazy_mean
from discrepancy.methods.fod.training import FODTask
from discrepancy.methods.fod.zero_gradient_adam import ZeroGradientAdam
from discrepancy.metrics import auroc
from discrepancy.training.loop import Checkpoint, fit
from tests.methods.fod import naive_fod
from tests.tiny import Killed, killed_after, training_data, unseen_and_defective

CPU = torch.device("cpu")
SMALL = {"widths": [32, 32], "heads": 2, "depth": 2, "image_smoothing": 0.0}
GRIDS = [(12, 12), (6, 6)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return FeatureCache(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def tokens(good_images, backbone, cache):
    """Cached tokens of the good images by the default parameters."""
    means = build_tokens(backbone, FODParameters(), (96, 96))
    recipe = lazy_features(backbone, good_images, [str(i) for i in range(len(good_images))], reduction=means)
    return cache.get(recipe, progress=False)


@pytest.fixture(scope="module")
def reference(tokens, cache):
    return cache.get(lazy_mean(tokens, 16), progress=False)


@pytest.fixture
def build(backbone, tokens, reference):
    def build(**changes):
        parameters = FODParameters(**{**SMALL, **changes})
        card = new_card(FOD, parameters, backbone, image_size=(96, 96), data_digest="d")
        detector = FOD(backbone, parameters, card)
        if parameters.standardise:
            detector.set_statistics(tokens.channel_statistics())
        detector.set_reference(reference.tensors([0]))
        return detector

    return build


@pytest.fixture
def train(build, tokens):
    def train(checkpoint=None, **changes):
        detector = build(**{"epochs": 12, "learning_rate": 2e-3, **changes})
        history = fit(
            detector.transformers,
            FODTask(detector, training_data(tokens, 16)),
            detector.parameters_used.training(16),
            device=CPU,
            checkpoint=checkpoint,
            optimiser=detector.optimiser(),
            progress=False,
        )
        return detector, history

    return train


def slow_tokens(backbone, images, tokens=None):
    """Local means of the maps by hand, reflected beyond the border, standardised if asked for: [N, tokens, C] each."""
    result = []
    for name, map_ in backbone(images).items():
        padded = F.pad(map_, (1, 1, 1, 1), mode="reflect")
        height, width = map_.shape[2:]
        mean = sum(padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
        rows = mean.flatten(2).transpose(1, 2)
        if tokens is not None:
            average, deviation = (torch.from_numpy(v).float() for v in tokens.channel_statistics()[name])
            rows = (rows - average) / deviation
        result.append(rows)
    return result


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("switches", "rule"),
    [
        ({"correlation": "auto"}, "inter"),
        ({"correlation": "intra"}, "intra"),
        ({}, None),
        ({"correlation": "auto", "with_inter": False}, "intra"),
        ({"correlation": "inter", "with_intra": False}, "inter"),
        ({"correlation": "auto", "with_intra": False, "with_inter": False}, None),
    ],
)
@pytest.mark.parametrize("standardise", [True, False])
def test_the_map_is_reconstruction_times_correlation(
    build, backbone, tokens, good_images, standardise, switches, rule, balanced
):
    options = {"standardise": standardise, "residuals": "raw", "by_position": False, "align_corners": True}
    detector = build(**options, **switches, balanced=balanced).eval()
    images = torch.from_numpy(good_images[:2])
    expected = 0
    with torch.no_grad():
        for level, x in enumerate(slow_tokens(backbone, images, tokens if standardise else None)):
            mean = slow_tokens(backbone, torch.from_numpy(good_images[:16]), tokens if standardise else None)[level]
            transformer, grid = detector.transformers[level], GRIDS[level]
            reconstruction, pairs = naive_fod.run(transformer, x, mean.mean(0), grid, as_figure=False)
            score = ((x - reconstruction) ** 2).mean(-1)
            score = score + 1 - (x * reconstruction).sum(-1) / (x.norm(dim=-1) * reconstruction.norm(dim=-1))
            if rule:
                divergences = [naive_fod.divergence(goal, learnt).mean(1) for learnt, goal in pairs[rule]]
                closeness = torch.softmax(-sum(divergences) / len(divergences), -1)
                unusual = closeness if rule == "intra" else closeness.max(-1, keepdim=True).values - closeness
                score = score * unusual * (x.shape[1] if balanced else 1)
            grid_map = score.view(2, 1, *grid)
            expected = expected + F.interpolate(grid_map, (96, 96), mode="bilinear", align_corners=True)[:, 0] / 2
        torch.testing.assert_close(detector(images), expected, rtol=2e-3, atol=1e-6)


def test_the_reference_is_the_mean_of_the_training_images(build, backbone, tokens, good_images):
    """Of the 16 that are trained on, not of the two held out."""
    expected = slow_tokens(backbone, torch.from_numpy(good_images[:16]), tokens)
    detector = build()
    for level, rows in enumerate(expected):
        torch.testing.assert_close(detector.get_buffer(f"reference_{level}"), rows.mean(0), rtol=1e-3, atol=1e-4)


def test_the_loss_has_the_gradients_of_the_papers_two_summed_over_levels(build, tokens):
    detector, naive = build(), build()
    problem = FODTask(detector, training_data(tokens, 16))
    batch = problem.batch(0, np.array([3, 7, 1]))
    loss = problem.loss(batch)
    loss.backward()
    plain = 0.0
    for level, x in enumerate(naive.standardised(batch)):
        transformer, mean = naive.transformers[level], naive.get_buffer(f"reference_{level}")
        reconstruction, _ = naive_fod.run(transformer, x, mean, GRIDS[level], as_figure=False)
        plain += 2 * naive_fod.reconstruction_loss(reconstruction, x).item()
        naive_fod.accumulate_gradients(transformer, x, mean, GRIDS[level])
    assert loss.item() == pytest.approx(plain, rel=1e-5)
    for ours, theirs in zip(detector.transformers.parameters(), naive.transformers.parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() < 1e-4 * theirs.grad.abs().max() + 1e-9


def test_validation_loss_is_twice_the_reconstruction_loss_of_the_held_out_images(build, tokens):
    detector = build(batch_size=2).eval()
    problem = FODTask(detector, training_data(tokens, 15))
    with torch.no_grad():
        expected = 2 * detector.reconstruction_loss(tokens.tensors(range(15, 18)))
        assert problem.validation_loss() == pytest.approx(expected.item(), rel=1e-5)


def test_only_the_transformers_are_trained(build, train):
    before = build(epochs=1).state_dict()
    detector, _ = train(epochs=1)
    for key, value in detector.state_dict().items():
        assert torch.equal(before[key], value) != key.startswith("transformers."), key


LARGER = {"batch_size": 4, "learning_rate": 4e-3}  # fewer steps


@pytest.mark.parametrize(
    "changes", [{"epochs": 6}, LARGER, {**LARGER, "as_figure": True}, {**LARGER, "precision": "bf16"}]
)
def test_it_learns_what_good_looks_like(train, tokens, good_images, changes):
    """After a short training, turned patches of unseen images score higher than the unseen images themselves."""
    detector, history = train(**changes)
    detector.fit_residual_scaler(training_data(tokens, 16, good_images))
    assert history[-1].loss < 0.7 * history[0].loss
    assert history[-1].validation_loss < 0.7 * history[0].validation_loss
    images, masks = unseen_and_defective()
    with torch.no_grad():
        maps = detector(torch.from_numpy(images))
        scores = detector.image_scores(maps).numpy()
    assert auroc(scores, np.repeat([0, 1], 8)) > 0.85
    assert auroc(maps[8:].numpy(), masks) > 0.85


def test_training_draws_correlations_together_and_apart(train):
    """Training: inter-correlations approach their targets, intra-correlations do not."""
    _, history = train(epochs=6)
    first, last = history[0].noted, history[-1].noted
    assert set(last) == {f"{b}_{n}" for b in ("intra", "inter") for n in ("divergence", "entropy")}
    assert last["inter_entropy"] < first["inter_entropy"]
    assert last["intra_divergence"] - last["inter_divergence"] > first["intra_divergence"] - first["inter_divergence"]


def test_the_oracle_watches_and_changes_nothing(build, train, tokens):
    plain, _ = train(epochs=3, batch_size=4)
    watched = build(epochs=3, batch_size=4, learning_rate=2e-3)
    seen = []

    def watch(detector):
        detector.fit_residual_scaler(training_data(tokens, 16))
        seen.append(detector.transformers[0].head[1].weight.clone())
        return {"image_auroc": len(seen) / 10}

    problem = FODTask(watched, training_data(tokens, 16), watch=watch)
    settings, optimiser = watched.parameters_used.training(16), watched.optimiser()
    history = fit(watched.transformers, problem, settings, device=CPU, optimiser=optimiser, progress=False)
    assert [entry.noted["image_auroc"] for entry in history] == [0.1, 0.2, 0.3]
    assert not torch.equal(seen[0], seen[1])  # it saw each epoch's state
    state = watched.transformers.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in plain.transformers.state_dict().items())


@pytest.mark.parametrize("changes", [{}, {"zero_gradient_steps": True}])
def test_killed_training_resumes_with_the_same_bits(train, tmp_path, changes):
    changes = {"epochs": 4, "checkpoint_every": 1, "batch_size": 4, **changes}
    whole, _ = train(**changes)
    with pytest.raises(Killed):
        train(killed_after(Checkpoint(tmp_path / "c.pt", "x"), 2), **changes)
    resumed, history = train(Checkpoint(tmp_path / "c.pt", "x"), **changes)
    assert len(history) == 4 and history[0].noted and history[3].noted
    state = resumed.transformers.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.transformers.state_dict().items())


def test_saved_and_loaded_it_gives_the_same_maps(train, tokens, good_images, tmp_path):
    detector, _ = train(epochs=1, as_figure=True)
    detector.fit_residual_scaler(training_data(tokens, 4))
    save_method(detector.eval(), tmp_path / "detector")
    loaded = load_method(tmp_path / "detector")
    images = torch.from_numpy(good_images[:2])
    assert torch.equal(loaded(images), detector(images))
    with pytest.raises(InputError, match="96x80"):
        loaded(images[..., :80])


def test_weighing_is_learnt_from_good_images(build, tokens, good_images):
    """Whitened residuals of the images that were looked at have second moments near 1; maps there average near 1."""
    detector = build(correlation="auto", position_shift=0).eval()
    detector.fit_residual_scaler(training_data(tokens, 16, good_images))
    with torch.no_grad():
        residuals = detector._compared(tokens.tensors(range(16))).residuals
        for level, residual in enumerate(residuals):
            weighed = detector.weighing.weighed(level, residual).transpose(0, 1).flatten(1)
            moments = weighed @ weighed.T / weighed.shape[1]
            assert 0.5 < moments.diagonal().mean() < 1.01
            assert (moments - torch.diag(moments.diagonal())).abs().max() < 0.3
        assert detector(torch.from_numpy(good_images[:16])).mean() == pytest.approx(2 / 3, rel=0.15)


def test_correlations_of_places(build, backbone, tokens, good_images):
    detector = build().eval()
    image = torch.from_numpy(good_images[:1])
    places = [(95.9, 0.0), (40.0, 61.0)]
    levels = detector.correlations(image, places)
    assert detector.cell(0, places[1]) == (5, 7) and detector.cell(1, places[1]) == (2, 3)
    for level, (x, found) in enumerate(zip(slow_tokens(backbone, image, tokens), levels, strict=True)):
        grid, reference = GRIDS[level], detector.get_buffer(f"reference_{level}")
        _, pairs = naive_fod.run(detector.transformers[level], x, reference, grid, as_figure=False)
        for i, place in enumerate(places):
            row, column = detector.cell(level, place)
            for branch in ("intra", "inter"):
                for name, which in (("learnt", 0), ("target", 1)):
                    every = torch.stack([pair[which] for pair in pairs[branch]])[:, 0].mean((0, 1))
                    ours = getattr(found[branch], name)[i]
                    torch.testing.assert_close(
                        ours, every[row * grid[1] + column].view(grid), rtol=1e-2, atol=1e-4, check_stride=False
                    )
                    assert ours.sum().item() == pytest.approx(1, rel=1e-4)


def test_zero_gradient_steps_move_parameters_further():
    """Under a steady gradient sqrt(2) times the rate per batch with two levels; measured on both levels."""
    rate = 1e-4
    levels = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    parameters = [level.weight for level in levels]
    for optimiser, factor in ((torch.optim.Adam(parameters, lr=rate), 1), (ZeroGradientAdam(levels, lr=rate), 2**0.5)):
        start = []
        for batch in range(1500):
            if batch == 1000:  # the second moments have settled
                start = [parameter.item() for parameter in parameters]
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, 0.3)
            optimiser.step()
        steps = [(before - after.item()) / 500 for before, after in zip(start, parameters, strict=True)]
        assert steps == pytest.approx([factor * rate] * 2, rel=5e-3)


def test_zero_gradient_steps_are_those_of_two_optimiser_steps_per_batch(build):
    """Level by level, the other level's gradients zeros; none before it had a gradient."""
    detector, naive = build(zero_gradient_steps=True), build(zero_gradient_steps=True)
    levels = [list(level.parameters()) for level in naive.transformers]
    ours, theirs = detector.optimiser(), torch.optim.Adam([*levels[0], *levels[1]], lr=1e-3)
    for batch in range(3):
        for index, parameter in enumerate(detector.transformers.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1 * (batch + 1) * (-1) ** index)
        gradients = [parameter.grad.clone() for parameter in detector.transformers.parameters()]
        ours.step()
        for turn, level in enumerate(levels):
            theirs.zero_grad(set_to_none=False)
            offset = 0 if turn == 0 else len(levels[0])
            for parameter, gradient in zip(level, gradients[offset:], strict=False):
                parameter.grad = gradient
            theirs.step()
            for parameter in level:
                parameter.grad = parameter.grad.clone()
    for one, other in zip(detector.transformers.parameters(), naive.transformers.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "model", "score"),
    [
        ({}, "no skip connection, no output", "whitened squared error + 1 - cosine; upsampled"),
        ({"as_figure": True}, "as the paper's figure", "divided by what is usual at the position"),
        ({"with_intra": False}, "inter-correlations alone: skip connection", ""),
        ({"with_intra": False, "with_inter": False}, "no correlations", ""),
        ({"residuals": "raw"}, "", "mean squared error + 1 - cosine"),
        ({"residuals": "diagonal"}, "", "squared error by channels' deviations"),
        ({"correlation": "auto"}, "", "x (max softmax(-J) - softmax(-J)), J of the inter-correlations"),
        ({"correlation": "auto", "with_inter": False}, "", "x softmax(-J), J of the intra-correlations"),
        ({"correlation": "inter", "balanced": True}, "", "x number of tokens"),
    ],
)
def test_the_card_says_how_it_was_understood(changes, model, score):
    found = describe(FODParameters(**changes))
    assert model in found["model"] and score in found["score"] and found["pixel_metrics"] == "on raw maps"
    assert "sigma 2 px" in describe(FODParameters(**changes, smoothing=2))["pixel_metrics"]
    assert "position" not in describe(FODParameters(**changes, by_position=False))["score"]


def test_widths_belong_to_the_layers_as_they_were_named(backbone):
    """In whatever order these are; the network gives them in its own."""
    parameters = FODParameters(layers="blocks.4+blocks.2", widths="64+32", heads=2)
    transformers = build_transformers(build_tokens(backbone, parameters, (96, 96)), parameters)
    assert [transformer.embedding.out_features for transformer in transformers] == [32, 64]  # blocks.2, blocks.4


def test_fingerprints_tell_runs_apart(tokens):
    def print_of(**changes):
        return FODParameters(**changes).fingerprint(tokens, examples=16)

    assert print_of() == print_of(correlation="inter", balanced=True, smoothing=2, oracle=True, device="cpu")
    for change in (
        {"widths": "64+64"},
        {"heads": 4},
        {"with_intra": False},
        {"as_figure": True},
        {"entropy_weight": 0},
    ):
        assert print_of() != print_of(**change)


def test_default_layers_have_strides_8_and_16():
    for name, layers in DEFAULT_LAYERS.items():
        backbone = build_backbone(name, layers=layers, weights="random")
        assert [layer.stride for layer in backbone.layers] == [8, 16]


def test_what_does_not_go_together_is_refused(build):
    with pytest.raises(InputError, match=r"widths: 1 given; expected 2, one for each of the layers blocks.2, blocks.4"):
        build(widths=[32])
    with pytest.raises(InputError, match="correlation: inter given, but with_inter is false; expected auto, intra"):
        build(correlation="inter", with_inter=False)
