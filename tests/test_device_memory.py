"""A GPU whose memory is too small: what goes on with less, and what is said where nothing helps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from discrepancy.detection import LazyScores
from discrepancy.device_memory import images_at_once, memory_explained, shrinking_batches
from discrepancy.errors import InputError
from discrepancy.explanation import explanation
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import new_card
from discrepancy.methods.dfr.model import DFR, DFRTask
from discrepancy.methods.dfr.parameters import DFRParameters
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.padim.parameters import PaDiMParameters
from discrepancy.training.loop import fit
from tests.tiny import backbone, good_images, training_data  # noqa: F401

CPU = torch.device("cpu")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB")


def with_room_for(rows, calls):
    """Return a computation that fails with more rows at a time."""

    def compute(part):
        calls.append((part.start, part.stop))
        if part.stop - part.start > rows:
            raise FULL
        return list(range(part.start, part.stop))

    return compute


@pytest.mark.parametrize("room", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_batches_shrink_until_they_fit(room, size):
    calls = []
    parts = list(shrinking_batches(10, size, with_room_for(room, calls), what="x", remedies=["y"]))
    assert [row for part in parts for row in part] == list(range(10))
    assert max(map(len, parts)) <= min(room, size)
    assert len(calls) - len(parts) <= 4  # attempts that failed: halves of ten


def test_a_row_that_does_not_fit_is_told():
    words = r"^x: the GPU's memory is too small \(20.00 MiB more were asked for\); expected y or z$"
    with pytest.raises(InputError, match=words):
        list(shrinking_batches(10, 4, with_room_for(0, []), what="x", remedies=["y", "z"]))


def test_other_errors_are_left_as_they_are():
    def compute(rows):
        raise error

    for error in (InputError("no image"), RuntimeError("a fault")):
        with pytest.raises(type(error)) as caught, memory_explained("x", ["y"]):
            next(shrinking_batches(4, 4, compute, what="x", remedies=["y"]))
        assert caught.value is error


def small(module, rows, seen):
    """Let a module fail for more images at a time."""

    def look(_module, inputs):
        seen.append(len(inputs[0]))
        if len(inputs[0]) > rows:
            raise FULL

    return module.register_forward_pre_hook(look)


def test_features_are_extracted_with_fewer_images_at_a_time(backbone, good_images):  # noqa: F811
    plan = lazy_features(backbone, good_images[:9], [str(i) for i in range(9)], batch_size=8)
    whole = [np.concatenate(parts) for parts in zip(*(piece.values() for piece in plan.pieces()), strict=True)]
    seen = []
    handle = small(backbone.network, 3, seen)
    try:
        found = [np.concatenate(parts) for parts in zip(*(piece.values() for piece in plan.pieces()), strict=True)]
    finally:
        handle.remove()
    assert seen == [8, 4, 2, 2, 2, 2, 1]
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.fixture
def detector(backbone):  # noqa: F811
    parameters = PaDiMParameters(device="cpu")
    return PaDiM(backbone, parameters, new_card(PaDiM, parameters, backbone, image_size=(96, 96), data_digest="d"))


def test_images_are_scored_with_fewer_at_a_time(detector, good_images):  # noqa: F811
    whole = LazyScores(detector, good_images[:5], CPU).computed()
    handle = small(detector.backbone.network, 2, [])
    try:
        found = LazyScores(detector, good_images[:5], CPU).computed()
    finally:
        handle.remove()
    np.testing.assert_allclose(found.maps, whole.maps, rtol=1e-3, atol=1e-4)
    assert found.image_scores.shape == (5,)


def test_an_image_that_cannot_be_scored_names_what_to_lower(detector, good_images):  # noqa: F811
    handle = small(detector.backbone.network, 0, [])
    try:
        with pytest.raises(InputError, match=r"padim: scoring.*scoring\.batch_size.*image_size.*device=cpu"):
            LazyScores(detector, good_images[:5], CPU).computed()
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def regional(backbone, good_images, tmp_path_factory):  # noqa: F811
    kept = DFR.reduction(backbone, DFRParameters(), (96, 96))
    plan = lazy_features(backbone, good_images, [str(i) for i in range(len(good_images))], reduction=kept)
    return FeatureCache(tmp_path_factory.mktemp("regional")).get(plan, progress=False)


@pytest.fixture
def dfr(backbone, regional):  # noqa: F811
    """Build DFR and its training data."""

    def build():
        parameters = DFRParameters(epochs=2, batch_size=4, device="cpu")
        card = new_card(DFR, parameters, backbone, image_size=(96, 96), data_digest="d", latent_dim=8)
        return DFR(backbone, parameters, card), training_data(regional, 16)

    return build


def trained(dfr, fails_at=()):
    """Train on features that are on the device; some calls of the loss find no memory."""
    detector, data = dfr()
    task = DFRTask(detector, data, resident=True)
    plain, calls = task.loss, []

    def loss(batch):
        calls.append(task.is_resident)
        if len(calls) in fails_at:
            raise FULL
        return plain(batch)

    task.loss = loss
    fit(detector.trained_network, task, detector.parameters_used.training(task.examples), device=CPU, progress=False)
    return detector.trained_network.state_dict(), calls


def test_training_goes_on_without_the_features_on_the_device(dfr):
    expected, calls = trained(dfr)
    assert all(calls)
    state, calls = trained(dfr, fails_at={3})
    assert calls == [True] * 3 + [False] * (len(calls) - 3)
    assert all(torch.equal(value, state[name]) for name, value in expected.items())


def test_a_second_time_is_once_too_often(dfr):
    with pytest.raises(torch.OutOfMemoryError):
        trained(dfr, fails_at={3, 7})


def test_features_that_do_not_fit_after_all_stay_in_the_cache(dfr, monkeypatch):
    monkeypatch.setattr(DFRTask, "_on_device", lambda self: (_ for _ in ()).throw(FULL))
    detector, data = dfr()
    assert not DFRTask(detector, data, resident=True).is_resident


def test_a_training_that_does_not_fit_names_what_to_lower(dfr, monkeypatch):
    detector, data = dfr()
    monkeypatch.setattr(DFR, "set_up", lambda *_: None)
    monkeypatch.setattr(DFR, "deciding", lambda *_: {})
    monkeypatch.setattr(nn.Linear, "forward", lambda *_: (_ for _ in ()).throw(FULL))
    with pytest.raises(InputError) as caught:
        detector.train_network(data)
    message = explanation(caught.value)
    for name in ("dfr.batch_size", "dfr.precision=bf16", "image_size", "dfr.cache_dtype=float16", "dfr.device=cpu"):
        assert name in message


def test_what_is_low_already_is_not_named():
    lean = DFRParameters(batch_size=1, precision="bf16", cache_dtype="float16", device="cpu")
    assert lean.lighter("dfr") == ["a smaller image_size", "dfr.device=cpu"]
    of_padim = PaDiMParameters().lighter("padim")
    assert of_padim == ["a smaller image_size", "padim.cache_dtype=float16", "padim.device=cpu"]


@given(st.integers(1, 64), st.integers(1, 4000), st.integers(1, 4000))
@settings(deadline=None)
def test_large_images_come_in_smaller_batches(batch_size, height, width):
    found = images_at_once(batch_size, height, width)
    assert 1 <= found <= batch_size
    if height * width <= 256 * 256:
        assert found == batch_size
    else:
        assert found == 1 or found * height * width <= batch_size * 256 * 256
        assert found == batch_size or (found + 1) * height * width > batch_size * 256 * 256


def test_extraction_and_scoring_take_fewer_large_images_at_a_time(backbone, monkeypatch):  # noqa: F811
    seen = []
    forward = type(backbone).forward
    monkeypatch.setattr(type(backbone), "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    images = np.zeros((5, 3, 96, 384), np.uint8)
    monkeypatch.setattr("discrepancy.device_memory.USUAL_PIXELS", 96 * 96)
    list(lazy_features(backbone, images, list("abcde"), batch_size=8).pieces())
    assert seen == [2, 2, 1]
    seen.clear()
    parameters = PaDiMParameters(device="cpu", channels=4)
    card = new_card(PaDiM, parameters, backbone, image_size=(96, 384), data_digest="d")
    LazyScores(PaDiM(backbone, parameters, card), images, CPU, 8).computed()
    assert seen == [2, 2, 1]
