"""PatchCore: maps and scores against slow definitions, what it learns, and that it is saved whole."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from discrepancy.detection.storage import load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.architectures import ARCHITECTURES
from discrepancy.features.backbones import build_backbone
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.patchcore.model import PatchCore
from discrepancy.methods.patchcore.parameters import PatchCoreParameters
from discrepancy.metrics import auroc
from tests.tiny import unseen_and_defective


def build(backbone, images=18, **changes):
    parameters = PatchCoreParameters(**{"coreset": 0.1, "smallest_memory": 1, "device": "cpu", **changes})
    card = new_card(
        PatchCore,
        parameters,
        backbone,
        image_size=(96, 96),
        data_digest="d",
        images={"train": images, "validation": 0},
        **PatchCore.card_entries(parameters, {}),
    )
    return PatchCore(backbone, parameters, card)


def trained(backbone, features, good_images, examples=18, **changes):
    detector = build(backbone, examples, **changes)
    assert detector.fit(TrainingData(good_images, features, examples)) is None
    return detector.eval()


def slow_patches(backbone, images):
    """Patch features [N, 144, 152] in float64."""
    first, second = (
        F.avg_pool2d(F.pad(maps.double(), (1, 1, 1, 1), mode="reflect"), 3, 1)
        for maps in backbone(torch.from_numpy(images)).values()
    )
    second = F.interpolate(second, first.shape[2:], mode="bilinear")
    return torch.cat([first, second], 1).flatten(2).transpose(1, 2).numpy()


def test_maps_and_scores_are_those_of_the_paper(backbone, features, good_images):
    """All distances at hand; the memory is what was learnt."""
    detector = trained(backbone, features, good_images)
    memory = detector.memory.double().numpy()
    images = unseen_and_defective()[0][6:10]
    patches = slow_patches(backbone, images)
    distances = np.stack([cdist(of_image, memory).min(1) for of_image in patches])
    coarse = torch.from_numpy(distances).view(-1, 1, 12, 12)
    expected = F.interpolate(coarse, (96, 96), mode="bilinear")[:, 0].numpy()
    tensor = torch.from_numpy(images)
    with torch.inference_mode():
        raw = detector.anomaly_maps(backbone(tensor), tensor)
        np.testing.assert_allclose(raw, expected, rtol=1e-4, atol=1e-4)
        maps, scores = detector.score(images)
        np.testing.assert_array_equal(detector(images), maps)
    smooth = np.stack([gaussian_filter(values, 4, mode="mirror") for values in expected])
    np.testing.assert_allclose(maps, smooth, rtol=1e-4)
    for of_image, nearest, score in zip(patches, distances, scores, strict=True):
        patch, distance = of_image[nearest.argmax()], nearest.max()
        item = memory[cdist(patch[None], memory).argmin()]
        around = memory[np.argsort(cdist(item[None], memory)[0])[:9]]
        weight = 1 - math.exp(distance) / sum(math.exp(math.dist(patch, other)) for other in around)
        assert float(score) == pytest.approx(weight * distance, rel=1e-4)


def test_the_memory_is_the_coreset_of_the_training_patches(backbone, features, good_images):
    """Without projection: by the matrix of all distances between the patches of the training images."""
    detector = trained(backbone, features, good_images, examples=6, projection=None, coreset=0.05)
    patches = slow_patches(backbone, good_images[:6]).reshape(-1, 152)
    memory = detector.memory.double().numpy()
    assert len(memory) == round(0.05 * 6 * 144)
    chosen = cdist(memory, patches).argmin(1)
    np.testing.assert_allclose(memory, patches[chosen], atol=1e-4)
    distances = cdist(patches, patches)
    for step in range(1, len(chosen)):
        nearest = distances[:, chosen[:step]].min(1)
        assert nearest[chosen[step]] == pytest.approx(nearest.max(), rel=1e-5)


def test_few_patches_are_all_kept_and_many_are_chosen_out_of_a_random_part(backbone, features, good_images):
    """The candidates are patches of all images, and the memory is the coreset of these."""
    patches = slow_patches(backbone, good_images[:6]).reshape(-1, 152)
    whole = trained(backbone, features, good_images, examples=6, smallest_memory=2000, candidates=2000)
    assert len(whole.memory) == len(patches)
    np.testing.assert_allclose(np.sort(whole.memory.numpy(), 0), np.sort(patches, 0), atol=1e-4)
    chosen_from = {"projection": None, "coreset": 0.05, "candidates": 200}
    memory = trained(backbone, features, good_images, examples=6, **chosen_from).memory.double().numpy()
    indices = cdist(memory, patches).argmin(1)
    assert len(set(indices)) == len(memory) == round(0.05 * len(patches)) and len(set(indices // 144)) > 3
    # Nearer to each other than a coreset of all patches is: the outermost are not all among the candidates.
    every = trained(backbone, features, good_images, examples=6, **chosen_from | {"candidates": None}).memory
    assert cdist(patches, memory).min(1).max() > cdist(patches, every.double().numpy()).min(1).max()


@pytest.mark.parametrize(
    ("patches", "changes", "size", "candidates"),
    [
        (1000, {}, 1000, 1000),
        (60_000, {}, 2000, 30_000),
        (300_000, {}, 3000, 30_000),
        (300_000, {"coreset": 0.25}, 75_000, 82_500),
        (300_000, {"coreset": 0.25, "smallest_memory": 1, "candidates": None}, 75_000, 300_000),
        (50, {"coreset": 0.001, "smallest_memory": 1}, 1, 50),
    ],
)
def test_sizes_of_memory_and_candidates(patches, changes, size, candidates):
    parameters = PatchCoreParameters(**changes)
    assert (parameters.memory_size(patches), parameters.candidate_count(patches)) == (size, candidates)


def test_fewer_candidates_than_the_memory_are_refused():
    with pytest.raises(InputError, match="candidates: 100 given; expected null, or 2000 or more: smallest_memory"):
        PatchCoreParameters.model_validate({"candidates": 100})


def test_a_projection_chooses_almost_as_well(backbone, features, good_images):
    """What the coreset leaves uncovered, next to one chosen without projection and one chosen by chance."""
    patches = slow_patches(backbone, good_images).reshape(-1, 152)

    def radius(memory):
        return cdist(patches, memory).min(1).max()

    exact, projected = (
        radius(trained(backbone, features, good_images, projection=k, coreset=0.02).memory.double().numpy())
        for k in (None, 64)
    )
    chance = radius(patches[np.random.default_rng(0).permutation(len(patches))[: round(0.02 * len(patches))]])
    assert projected < 1.25 * exact < chance


def test_defects_are_found(backbone, features, good_images):
    detector = trained(backbone, features, good_images)
    images, masks = unseen_and_defective()
    with torch.inference_mode():
        maps, scores = detector.score(images)
    assert auroc(scores.numpy(), np.repeat([0, 1], 8)) > 0.9
    assert auroc(maps[8:].numpy(), masks) > 0.9


def test_maps_and_scores_do_not_depend_on_the_batch(backbone, features, good_images):
    detector = trained(backbone, features, good_images)
    images = torch.from_numpy(unseen_and_defective()[0][:5])
    with torch.inference_mode():
        together, alone = detector.score(images), [detector.score(image[None]) for image in images]
    torch.testing.assert_close(together.maps, torch.cat([one.maps for one in alone]), rtol=1e-4, atol=1e-4)
    scores = torch.cat([one.image_scores for one in alone])
    torch.testing.assert_close(together.image_scores, scores, rtol=1e-4, atol=1e-4)


def test_a_seed_stands_for_a_detector(backbone, features, good_images):
    first, same, other = (trained(backbone, features, good_images, seed=seed).memory for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("dimension", [None, 32])
def test_saved_and_loaded_it_gives_the_same_scores(backbone, features, good_images, tmp_path, dimension):
    detector = trained(backbone, features, good_images, dimension=dimension)
    assert detector.memory.shape == (round(0.1 * 18 * 144), dimension or 152)
    save_method(detector, tmp_path / "detector")
    loaded = load_method(tmp_path / "detector")
    assert isinstance(loaded, PatchCore)
    assert (
        loaded.card.image_score.rule
        == "distance of the most anomalous patch, weighed by its 9 neighbours in the memory"
    )
    images = unseen_and_defective()[0][:2]
    for values, expected in zip(loaded.score(images), detector.score(images), strict=True):
        assert torch.equal(values, expected)
    with pytest.raises(InputError, match="96x80"):
        loaded.score(images[..., :80])


def test_a_card_without_the_number_of_training_images_is_refused(backbone):
    with pytest.raises(InputError, match=r"images: .*`train`"):
        build(backbone, images=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_default_layers_have_strides_of_8_and_16(name):
    layers = PatchCoreParameters(backbone=name).layers_of("cable")
    assert [layer.stride for layer in build_backbone(name, layers=layers, weights="random").layers] == [8, 16]
