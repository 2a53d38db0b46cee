"""Cross-fitting: folds, detectors that were trained without them, and killed runs that go on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.data.splits import deal_folds
from discrepancy.detection import cross_fitting
from discrepancy.detection.cross_fitting import CrossFittedScores, fit_without
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.registry import METHODS
from tests.tiny import Killed

CPU = torch.device("cpu")
TINY = {
    "padim": {"channels": 8, "augmentation": "none"},
    "patchcore": {"coreset": 0.1},
    "dfc": {"width": 8, "epochs": 1},
    "dfr": {"epochs": 1, "latent_dim": 4},
    "fod": {"epochs": 1, "widths": [16, 16], "depth": 1},
}
PAIR = {"members": ["padim", "patchcore"], "settings": {"padim": {"channels": 8}}}


def untrained(name, backbone, data, **changes):
    method = METHODS[name]
    parameters = method.Parameters(device="cpu", **{**(TINY | {"committee": PAIR})[name], **changes})
    entries = method.card_entries(parameters, method.prepare(backbone, data, parameters))
    more = {"images": {"train": data.examples}, **entries}
    card = new_card(method, parameters, backbone, image_size=(96, 96), data_digest="d", **more)
    return method(backbone, parameters, card), parameters


def good_data(name, backbone, images, folder):
    method = METHODS[name]
    reduction = method.reduction(backbone, method.Parameters(device="cpu", **TINY[name]), (96, 96))
    lazy = lazy_features(backbone, images, [str(i) for i in range(len(images))], reduction=reduction)
    return TrainingData(images, FeatureCache(folder).get(lazy, progress=False), len(images))


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=5, max_size=40), st.integers(2, 5), st.integers(0, 3))
def test_every_image_is_in_one_fold_and_copies_stay_together(copies, folds, seed):
    digests = [f"{value:02}" for value in copies]
    if len(set(digests)) < folds:
        with pytest.raises(InputError, match=f"folds is {folds}; expected 2 to {len(set(digests))}"):
            deal_folds(digests, folds, seed=seed)
        return
    dealt = deal_folds(digests, folds, seed=seed)
    assert sorted(np.concatenate(dealt)) == list(range(len(digests)))
    groups = [{digests[row] for row in rows} for rows in dealt]
    assert sum(len(group) for group in groups) == len(set(digests))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_folds_depend_on_the_images_not_on_their_order():
    digests = [str(value) for value in range(30)]
    order = np.random.default_rng(0).permutation(30)
    first = [{digests[row] for row in rows} for rows in deal_folds(digests, 4, seed=1)]
    shuffled = [digests[row] for row in order]
    assert [{shuffled[row] for row in rows} for rows in deal_folds(shuffled, 4, seed=1)] == first
    assert [{digests[row] for row in rows} for rows in deal_folds(digests, 4, seed=2)] != first


@pytest.mark.parametrize(
    ("name", "changes"), [("padim", {"augmentation": "auto"}), ("patchcore", {}), ("committee", {})]
)
def test_a_fold_is_scored_as_by_a_detector_that_never_saw_it(name, changes, backbone, features, good_images, tmp_path):
    """Against one trained on nothing but the other images, with features of their own."""
    data = TrainingData(good_images, features, len(good_images))
    template, parameters = untrained(name, backbone, data, **changes)
    held_out = np.array([1, 4, 17])
    others = np.delete(good_images, held_out, axis=0)
    own = FeatureCache(tmp_path).get(lazy_features(backbone, others, [str(i) for i in range(15)]), progress=False)
    alone, _ = untrained(name, backbone, TrainingData(others, own, 15), **changes)
    alone.fit(TrainingData(others, own, 15))  # the same features, in files of their own
    found = fit_without(template, data, held_out, None, parameters)
    images = torch.from_numpy(good_images[held_out])
    with torch.no_grad():
        torch.testing.assert_close(found.eval().score(images).maps, alone.eval().score(images).maps)
    assert found.card.images == {"train": 15, "validation": 3}


@pytest.mark.parametrize("name", TINY)
def test_every_method_is_cross_fitted(name, backbone, good_images, tmp_path):
    """Held-out images score higher than where the detector was trained on them."""
    data = good_data(name, backbone, good_images, tmp_path)
    template, parameters = untrained(name, backbone, data)
    folds = deal_folds([str(i) for i in range(18)], 3, seed=0)
    lazy = CrossFittedScores(template, data, parameters, folds, None, CPU)
    scored = lazy.computed()
    assert scored.maps.shape == lazy.shape == (18, 96, 96)
    assert sorted(lazy.order) == list(range(18))
    first = fit_without(template, data, folds[0], None, parameters).eval()
    with torch.no_grad():
        expected = first.score(good_images[folds[0]])
    np.testing.assert_allclose(scored.image_scores[: len(folds[0])], expected.image_scores, rtol=1e-4)
    if name in {"padim", "patchcore"}:
        seen = fit_without(template, data, folds[1], None, parameters).eval()
        with torch.no_grad():
            assert (seen.score(good_images[folds[0]]).image_scores < expected.image_scores).all()


def test_the_mean_normal_image_is_that_of_the_other_folds(backbone, features, good_images):
    data = TrainingData(good_images, features, len(good_images))
    template, parameters = untrained("fod", backbone, data)
    found = fit_without(template, data, np.array([0, 1]), None, parameters)
    expected = {layer: np.asarray(array[2:]).mean(0, dtype=np.float64) for layer, array in features.items()}
    kept = METHODS["fod"].prepare(backbone, TrainingData(good_images, features.rows(range(2, 18)), 16), parameters)
    for layer, mean in kept["reference"].items():
        np.testing.assert_allclose(mean[0], expected[layer], rtol=1e-4, atol=1e-5)
    assert found.card.images == {"train": 16, "validation": 2}


def test_a_killed_run_goes_on_with_the_next_fold(backbone, good_images, tmp_path, monkeypatch):
    data = good_data("dfr", backbone, good_images, tmp_path / "cache")
    template, parameters = untrained("dfr", backbone, data)
    folds = deal_folds([str(i) for i in range(18)], 3, seed=0)
    (tmp_path / "state").mkdir()
    checkpoint = tmp_path / "state/checkpoint.pt"
    whole = CrossFittedScores(template, data, parameters, folds, None, CPU).computed()

    fit, trained = cross_fitting.fit_without, []

    def killed_in_the_third(*arguments):
        if len(trained) == 2:
            raise Killed
        trained.append(fit(*arguments))
        return trained[-1]

    monkeypatch.setattr(cross_fitting, "fit_without", killed_in_the_third)
    lazy = CrossFittedScores(template, data, parameters, folds, checkpoint, CPU)
    with pytest.raises(Killed):
        lazy.computed()
    state = checkpoint.parent
    assert sorted(path.name for path in state.iterdir()) == ["checkpoint.fold1.pt", "checkpoint.fold2.pt"]

    monkeypatch.setattr(cross_fitting, "fit_without", fit)
    stamps = {path.name: path.stat().st_ino for path in state.iterdir()}
    pieces = lazy.pieces()
    next(pieces)
    assert {path.name: path.stat().st_ino for path in state.iterdir()} == stamps  # restored, not trained
    resumed = CrossFittedScores(template, data, parameters, folds, checkpoint, CPU).computed()
    np.testing.assert_allclose(resumed.image_scores, whole.image_scores, rtol=1e-5)
    assert not list(state.iterdir())
