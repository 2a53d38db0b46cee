"""Every method scores in the precision of its parameters, and its card says so."""

import copy
from contextlib import nullcontext

import pytest
import torch

from discrepancy.detection import LazyScores
from discrepancy.methods.base import new_card
from discrepancy.methods.card import Card
from discrepancy.methods.registry import METHODS

CPU = torch.device("cpu")
OPTIONS = {"committee": {"members": ["padim"]}}
MORE = {"dfr": {"latent_dim": 8}, "patchcore": {"images": {"train": 2}}}


@pytest.fixture(params=list(METHODS))
def build(request, backbone):
    """Build an untrained detector of each method."""

    def build(precision):
        method = METHODS[request.param]
        parameters = method.Parameters(precision=precision, device="cpu", **OPTIONS.get(request.param, {}))
        more = {**MORE.get(request.param, {})}
        if request.param == "committee":
            member = METHODS["padim"].Parameters(device="cpu")
            card = new_card(METHODS["padim"], member, backbone, image_size=(96, 96), data_digest="d")
            more = {"members": {"padim": card.to_json()}}
        card = new_card(method, parameters, backbone, image_size=(96, 96), data_digest="d", **more)
        return method(backbone, parameters, card)

    return build


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_detectors_score_in_their_precision(build, good_images, precision):
    detector, seen = build(precision), []
    handle = detector.backbone.network.register_forward_hook(
        lambda *_: seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
    )
    try:
        LazyScores(detector, good_images[:1], CPU).computed()
        detector(good_images[:1])
    finally:
        handle.remove()
    assert seen == [(precision != "fp32",) * 2] * 2


def test_on_a_cpu_all_precisions_score_alike(build, good_images):
    found = [LazyScores(build(name), good_images[:2], CPU).computed() for name in ("fp32", "tf32", "bf16")]
    assert all((one.maps == found[0].maps).all() for one in found)
    assert all((one.image_scores == found[0].image_scores).all() for one in found)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_scoring_leaves_nothing_on_the_cpu(build, precision, monkeypatch):
    """On the `meta` device an operation with a tensor of the CPU fails, as it would on a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know `meta`
    detector = copy.deepcopy(build(precision)).to("meta")  # the network is that of all tests
    maps, scores = detector.score(torch.zeros(2, 3, 96, 96, dtype=torch.uint8, device="meta"))
    assert maps.shape == (2, 96, 96) and scores.shape == (2,)


def test_the_card_names_device_and_precision(build):
    assert build("bf16").card.to_json()["precision"] == "bf16"
    card = build("tf32").card
    assert (card.device, card.precision) == ("cpu", "fp32")  # as a CPU computes
    values = {key: value for key, value in card.to_json().items() if key not in ("device", "precision")}
    older = Card.read(values)
    assert (older.device, older.precision) == ("", "") and older.to_json() == values
