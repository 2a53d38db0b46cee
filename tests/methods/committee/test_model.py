"""A committee: its maps are the weighed mean of its members', each as it would be by itself."""

import json

import numpy as np
import pytest
import torch

from discrepancy.detection import load_method, save_method
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.committee.model import Committee, _some_held_out, same_training
from discrepancy.methods.committee.parameters import CommitteeParameters
from discrepancy.methods.registry import METHODS
from discrepancy.metrics import auroc
from tests.tiny import unseen_and_defective

QUICK = {"dfc": {"epochs": 2, "width": 8}, "dfr": {"epochs": 2, "latent_dim": 8}, "padim": {"channels": 16}}
QUICK |= {"fod": {"epochs": 1, "widths": [16, 16], "depth": 1}, "patchcore": {"smallest_memory": 100}}
EVERY = [name for name in METHODS if name != "committee"]


def parameters(*members, **changes):
    given = {"members": list(members), "settings": QUICK, "device": "cpu", **changes}
    return CommitteeParameters.model_validate(given)


@pytest.fixture(scope="module")
def data(good_images, tmp_path_factory):
    """Return a function that gives the good images with cached maps of the layers that a committee uses."""
    cache = FeatureCache(tmp_path_factory.mktemp("features"))

    def data(used, examples=14):
        backbone = build_backbone(used.backbone, layers=used.layers_of("part"))
        digests = [str(index) for index in range(len(good_images))]
        return backbone, TrainingData(good_images, cache.get(lazy_features(backbone, good_images, digests)), examples)

    return data


def fitted(data, used, examples=14, checkpoint=None, offered=()):
    backbone, given = data(used, examples)
    facts = {"image_size": (96, 96), "data_digest": "d", "category": "part", "images": {"train": examples}}
    committee = Committee(backbone, used, new_card(Committee, used, backbone, **facts))
    for detector in offered:
        committee.offer(detector)
    assert committee.fit(given, checkpoint) is None
    return committee.eval()


def alone(name, used, data, examples=14):
    """Return a member's method, fitted by itself to features that a network for it alone extracted."""
    method, own = METHODS[name], used.parameters_of(name)
    backbone = build_backbone(own.backbone, layers=used.layers_of_member(name, "part"))
    _, given = data(used, examples)
    reduction = method.reduction(backbone, own, (96, 96))
    digests = [str(index) for index in range(len(given.images))]
    features = FeatureCache(given.cached.path.parent).get(
        lazy_features(backbone, given.images, digests, reduction=reduction)
    )
    mine = TrainingData(given.images, features, examples)
    prepared = method.prepare(backbone, mine, own)
    entries = {"images": {"train": examples}, **method.card_entries(own, prepared)}
    detector = method(backbone, own, new_card(method, own, backbone, image_size=(96, 96), data_digest="d", **entries))
    detector.fit(TrainingData(given.images, features, examples, prepared))
    return detector.eval()


@pytest.fixture(scope="module")
def everybody(data):
    return fitted(data, parameters(*EVERY))


@pytest.mark.parametrize("name", EVERY)
def test_a_member_is_what_its_method_would_be_by_itself(everybody, data, name):
    """Also if the features are reduced from maps that all members share."""
    detector = alone(name, everybody.parameters_used, data)
    state = everybody.members[name].trained_state()
    assert state.keys() == detector.trained_state().keys()
    for key, value in detector.trained_state().items():
        torch.testing.assert_close(state[key], value, rtol=1e-3, atol=1e-4)
    images = unseen_and_defective()[0][6:10]
    torch.testing.assert_close(everybody.members[name](images), detector(images), rtol=1e-2, atol=1e-3)


def test_maps_are_the_weighed_mean_in_units_of_the_spread(everybody, good_images):
    images = unseen_and_defective()[0][6:10]
    names = everybody.parameters_used.members
    weights = everybody.card.weights
    assert list(weights) == names and sum(weights.values()) == pytest.approx(1, abs=1e-3)
    expected = torch.zeros(4, 96, 96)
    with torch.inference_mode():
        for name in names:
            member = everybody.members[name]
            expected += weights[name] / member(good_images[14:]).std() * member(images)
        maps, scores = everybody.score(images)
    torch.testing.assert_close(maps, expected, rtol=2e-3, atol=1e-4)
    assert (maps >= 0).all() and scores.shape == (4,)


def test_the_frozen_network_runs_once_per_batch(everybody, good_images):
    seen = []
    handle = everybody.backbone.network.register_forward_hook(lambda *_: seen.append("whole"))
    others = [
        member.backbone.network.register_forward_hook(lambda *_: seen.append("member"))
        for member in everybody.members.values()
    ]
    try:
        everybody.score(good_images[:2])
    finally:
        for one in (handle, *others):
            one.remove()
    assert seen == ["whole"]
    used = everybody.backbone.network.get_submodule("blocks.2")
    assert all(member.backbone.network.get_submodule("blocks.2") is used for member in everybody.members.values())


def test_it_finds_what_its_members_find(data):
    committee = fitted(data, parameters("padim", "patchcore"))
    images, masks = unseen_and_defective()
    with torch.inference_mode():
        maps, scores = committee.score(images)
    assert auroc(scores, np.repeat([0, 1], 8)) > 0.95
    assert auroc(maps[8:], masks) > 0.9


def test_equal_weights(data):
    committee = fitted(data, parameters("padim", "patchcore", weighing="equal"))
    assert committee.card.weights == {"padim": 0.5, "patchcore": 0.5}


def test_saved_and_loaded_it_gives_the_same_maps(everybody, good_images, tmp_path):
    save_method(everybody, tmp_path / "detector")
    loaded = load_method(tmp_path / "detector")
    assert loaded.card.weights == everybody.card.weights
    assert [member.card.method for member in loaded.members.values()] == everybody.parameters_used.members
    with torch.inference_mode():
        assert torch.equal(loaded(good_images[:2]), everybody(good_images[:2]))
    assert not [key for key in loaded.trained_state() if "backbone" in key]


def test_a_card_without_a_member_is_refused(everybody, tmp_path):
    save_method(everybody, tmp_path / "detector")
    path = tmp_path / "detector/card.json"
    whole = json.loads(path.read_text())
    for members in ({}, {name: whole["members"][name] for name in EVERY[1:]}):
        path.write_text(json.dumps(whole | {"members": members}))
        with pytest.raises(InputError, match=r"members: .*expected"):
            load_method(tmp_path / "detector")
    others = whole["members"] | {"dfc": whole["members"]["dfc"] | {"method": "padim", "image_size": "big"}}
    path.write_text(json.dumps(whole | {"members": others}))
    with pytest.raises(InputError, match="image_size"):
        load_method(tmp_path / "detector")


def test_a_killed_training_goes_on_with_what_its_members_finished(data, tmp_path, monkeypatch):
    used = parameters("dfc", "padim")
    whole = fitted(data, used)
    monkeypatch.setattr(METHODS["padim"], "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fitted(data, used, checkpoint=tmp_path / "checkpoint.pt")
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.dfc.pt").is_file()
    steps = []
    task = METHODS["dfc"].training_task
    monkeypatch.setattr(
        METHODS["dfc"], "training_task", lambda *given: steps.append(1) or _counted(task(*given), steps)
    )
    resumed = fitted(data, used, checkpoint=tmp_path / "checkpoint.pt")
    assert steps == [1]  # the task was made, and no batch was asked of it
    state = resumed.trained_state()
    assert all(torch.equal(value, state[key]) for key, value in whole.trained_state().items())


def _counted(task, steps):
    batch = task.batch
    task.batch = lambda *given: steps.append(1) or batch(*given)
    return task


def test_without_held_out_images_a_fifth_of_the_others_sets_the_weights(data, monkeypatch):
    """They are drawn: the last ones by name may be of another lamp, which no member would know."""
    seen = []
    learn = Committee._learn_factors
    monkeypatch.setattr(Committee, "_learn_factors", lambda self, images: seen.append(images) or learn(self, images))
    used = parameters("padim")
    committee = fitted(data, used, examples=18)
    backbone, given = data(used, 18)
    assert committee.members["padim"].card.images == {"train": 14, "validation": 4}
    places = [next(i for i in range(18) if np.array_equal(given.images[i], image)) for image in seen[0]]
    assert len(set(places)) == 4 and places != [14, 15, 16, 17]
    order = [i for i in range(18) if i not in places] + places
    known = TrainingData(given.images[order], given.features.rows(order), 14)
    twin = fitted(lambda *_: (backbone, known), used)
    torch.testing.assert_close(committee.factors, twin.factors)


def test_many_held_out_images_set_the_weights_evenly(good_images, monkeypatch):
    monkeypatch.setattr("discrepancy.methods.committee.model.MOST_IMAGES", 3)
    some = _some_held_out(TrainingData(good_images, None, 11))
    np.testing.assert_array_equal(some, good_images[[11, 14, 17]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": "dfc+resnet"}, "'resnet' cannot be a member; expected some of dfc, dfr, fod, padim, patchcore"),
        ({"members": "committee"}, "'committee' cannot be a member"),
        ({"members": "dfc+dfc"}, "a member is named twice"),
        ({"layers": ["blocks.2"]}, "layers: .*settings"),
    ],
)
def test_parameters_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        CommitteeParameters.model_validate(changes)


def test_settings_that_cannot_be_are_refused_before_any_work(backbone):
    used = CommitteeParameters(settings={"dfc": {"epoch": 3}})
    with pytest.raises(InputError, match=r"settings.dfc: .*epoch.*did you mean 'epochs'"):
        Committee.reduction(backbone, used, (96, 96))


def test_a_member_whose_layers_the_shared_network_lacks_is_refused_before_any_work():
    used = CommitteeParameters(members="dfc+padim", backbone="vgg19", settings={"padim": {"layers": "layer1+layer2"}})
    with pytest.raises(InputError, match=r"settings.padim.layers: vgg19, which all members share, has no 'layer1'"):
        used.layers_of("cable")


def test_images_without_room_for_a_painted_defect_are_refused(backbone):
    used = parameters("padim")
    with pytest.raises(InputError, match=r"image_size: 48x96 given; .* at least 64 px on each side, or weighing=equal"):
        Committee.reduction(backbone, used, (48, 96))
    Committee.reduction(backbone, parameters("padim", weighing="equal"), (48, 96))


def test_a_category_with_layers_of_its_own_can_be_planned(good_images):
    used = parameters("dfc", settings={"dfc": {"layers_by_category": {"wood": ["blocks.2", "blocks.3"]}}})
    backbone = build_backbone(used.backbone, layers=used.layers_of("wood"))
    assert [layer.name for layer in backbone.layers] == ["blocks.2", "blocks.3"]
    Committee.reduction(backbone, used, (96, 96))


def test_members_follow_the_committee_in_what_they_share():
    used = parameters("dfc", "dfr", seed=7, precision="tf32", settings={"dfc": {"backbone": "vgg19", "epochs": 3}})
    own = used.parameters_of("dfc")
    assert (own.backbone, own.precision, own.epochs, own.seed) == ("tf_efficientnet_lite0", "tf32", 3, 7)
    layers = used.layers_of("cable")
    assert set(layers) == {*used.layers_of_member("dfc", "cable"), *used.layers_of_member("dfr", "cable")}
    assert layers == sorted(layers)


@pytest.fixture(scope="module")
def pair(data):
    return fitted(data, parameters("dfr", "padim"))


def offered(member, **changes):
    """The member as a detector that is told apart by its weights: all are ones."""
    detector = type(member).from_card(member.card.with_entries(**changes), member.backbone)
    ones = {name: torch.ones_like(value) for name, value in member.trained_state().items()}
    detector.load_state_dict(ones, strict=False)
    return detector


def test_a_detector_that_is_trained_already_is_taken(data, pair, caplog):
    caplog.set_level("INFO")
    committee = fitted(data, pair.parameters_used, offered=[offered(pair.members["dfr"])])
    assert "dfr is trained already" in caplog.text and "fitting padim" in caplog.text
    assert all((value == 1).all() for value in committee.members["dfr"].trained_state().values())
    assert committee.card.members["dfr"] == pair.card.members["dfr"]
    for name, value in committee.members["padim"].trained_state().items():
        torch.testing.assert_close(value, pair.members["padim"].trained_state()[name])


def other(card, **changes):
    return {"parameters": {**card.parameters, **changes}}


@pytest.mark.parametrize(
    "change",
    [
        lambda card: other(card, learning_rate=1e-4),
        lambda card: other(card, seed=card.parameters["seed"] + 1),
        lambda card: {"data_digest": "another"},
        lambda card: {"images": {"train": 13, "validation": 5}},
        lambda card: {"image_size": [96, 128]},
        lambda card: {"device": "another GPU"},
        lambda card: {"versions": {**card.versions, "torch": "1.0"}},
        lambda card: {"backbone": {**card.backbone.model_dump(), "weights": "0" * 64}},
    ],
)
def test_one_of_another_training_is_not(pair, change):
    card = pair.members["dfr"].card
    wanted = card.with_entries(epochs=None)
    assert same_training(card, wanted)
    assert not same_training(card.with_entries(**change(card)), wanted)


def test_what_does_not_decide_may_differ(pair):
    card = pair.members["dfr"].card
    assert same_training(card.with_entries(**other(card, device="auto", pooling="avg", checkpoint_every=3)), card)
