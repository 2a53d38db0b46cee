"""One training in two processes: what comes out equals that of one process with the whole batch."""

import signal
from functools import cache
from multiprocessing.reduction import ForkingPickler
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from discrepancy import peak_memory
from discrepancy.detection import load_method, save_method
from discrepancy.devices import check_processes
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.derived import with_layers
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.dfc.model import DFC
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.dfc.training import DFCTask, build_corruption
from discrepancy.methods.dfr.model import DFR, DFRTask
from discrepancy.methods.dfr.parameters import DFRParameters
from discrepancy.methods.dfr.regions import build_regions
from discrepancy.methods.fod.model import FOD, build_tokens
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.reference import lazy_mean
from discrepancy.methods.fod.training import FODTask
from discrepancy.methods.registry import METHODS
from discrepancy.peak_memory import GPUPeak, reset_peaks
from discrepancy.rows import Rows
from discrepancy.training.batch_norm import BatchNorm
from discrepancy.training.launch import LostProcessError, _as_path, _opened, run_distributed
from discrepancy.training.loop import Checkpoint, DivergedError, fit
from discrepancy.training.process_group import ProcessGroup, current_group
from tests.conftest import run_method
from tests.tiny import training_data
from tests.training.faulty_line import break_down, die, diverging, learn_line, refuse, with_fault
from tests.training.test_loop import CPU, settings

pytestmark = pytest.mark.sessions

EXAMPLES = 10
"""By threes: the processes' shares are 2 and 1 images, and of the last batch 1 and none."""

LAYERS = ["blocks.2", "blocks.4"]
SHARED = {"layers": LAYERS, "batch_size": 3, "learning_rate": 3e-4, "device": "cpu"}
CASES = {
    "dfc": DFCParameters(**SHARED, width=16, corruptions=["mean_colour", "noise"]),
    "dfr": DFRParameters(**{**SHARED, "learning_rate": 1e-4}, region=16),
    "dfr, no batch norm": DFRParameters(**SHARED, region=16, batch_norm=False),
    "fod": FODParameters(**SHARED, widths=[16, 16]),
    "fod, image by image": FODParameters(**{**SHARED, "batch_size": 1}, widths=[16, 16]),
    "fod, zero gradient steps": FODParameters(**SHARED, widths=[16, 16], zero_gradient_steps=True),
}
EPOCHS = 3
CUT = 1
"""Epochs after which other processes go on, in the cases of `TAKEN_UP`."""

TAKEN_UP = ("dfr", "fod")

CANCELLED = tuple(f"linears.{index}" for index in range(5))


class Data(NamedTuple):
    """What all methods learn from."""

    images: np.ndarray
    maps: Features
    regional: Features
    tokens: Features
    reference: Features


@pytest.fixture(scope="module")
def data(good_images, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    np.save(folder / "images.npy", good_images)
    cache, names = FeatureCache(folder / "cache"), [str(i) for i in range(len(good_images))]

    def features(reduction=None):
        return cache.get(lazy_features(backbone, good_images, names, reduction=reduction), progress=False)

    tokens = features(build_tokens(backbone, CASES["fod"], (96, 96)))
    return Data(
        np.load(folder / "images.npy", mmap_mode="r"),
        features(),
        features(build_regions(backbone, CASES["dfr"], (96, 96))),
        tokens,
        cache.get(lazy_mean(tokens, EXAMPLES), progress=False),
    )


@cache
def network():
    """The frozen network, in each process once."""
    return build_backbone("tf_efficientnet_lite0", layers=LAYERS)


def problem_of(name, data):
    """An untrained module, its problem, and an optimiser if it has its own."""
    parameters = CASES[name]
    method = name.split(",")[0]
    backbone = network()
    card = new_card(METHODS[method], parameters, backbone, image_size=(96, 96), data_digest="d", latent_dim=12)
    if method == "dfc":
        dfc = DFC(backbone, parameters, card)
        dfc.set_statistics(data.maps.channel_statistics())
        corruption = build_corruption(parameters, (96, 96))
        return dfc.estimator, DFCTask(dfc, training_data(data.maps, EXAMPLES, data.images), corruption), None
    if method == "dfr":
        dfr = DFR(backbone, parameters, card)
        dfr.set_statistics(data.regional.channel_statistics())
        return dfr.autoencoder, DFRTask(dfr, training_data(data.regional, EXAMPLES)), None
    fod = FOD(backbone, parameters, card)
    fod.set_statistics(data.tokens.channel_statistics())
    fod.set_reference(data.reference.tensors([0]))
    problem = FODTask(fod, training_data(data.tokens, EXAMPLES), watch=lambda detector: {"watched": 1.0})
    return fod.transformers, problem, fod.optimiser()


def trained(name, data, folder, *, epochs=EPOCHS):
    """The module, trained as far as it was not yet, and the history."""
    module, problem, optimiser = problem_of(name, data)
    wanted = settings(epochs=epochs, batch_size=CASES[name].batch_size, learning_rate=CASES[name].learning_rate)
    checkpoint = Checkpoint(folder / f"{name}.pt", name)
    options = {"device": CPU, "checkpoint": checkpoint, "optimiser": optimiser, "progress": False}
    return module, fit(module, problem, wanted, **options)


def train_all(images, maps, regional, tokens, reference, folder):
    """What each process does, all cases one after the other: starting processes takes longest."""
    assert images.filename and current_group().size == 2  # a map of the file, not a copy that was sent
    data = Data(images, maps, regional, tokens, reference)
    for name in CASES:
        trained(name, data, folder)
    for name in TAKEN_UP:
        (folder / "half").mkdir(exist_ok=True)
        trained(name, data, folder / "half", epochs=CUT)
        trained(name, data, folder / "taken up")


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """A folder of the checkpoints that two processes left."""
    folder = tmp_path_factory.mktemp("together")
    for name in TAKEN_UP:
        trained(name, data, folder / "taken up", epochs=CUT)
    reset_peaks()
    run_distributed(2, "cpu", train_all, (*data, folder))
    assert peak_memory._children == [GPUPeak(), GPUPeak()]  # no GPU was used, as both processes have said
    return folder


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The modules and histories of one process with the whole batches, by case."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: trained(name, data, folder) for name in CASES}


def decided(name, key, value):
    """The part of a tensor that the loss decides.

    Not a bias whose effect a batch normalisation takes out again, and the mean it follows; nor the bias of an
    attention's keys, which no softmax feels. Their gradients are rounding, of which Adam makes steps all the same.
    """
    if name == "dfr" and (key.endswith("running_mean") or (key.endswith(".bias") and key[:9] in CANCELLED)):
        return value[:0]
    return value[len(value) // 2 :] if key.endswith("keys_values.bias") else value


def assert_equal(name, found, expected):
    """Modules and histories."""
    (module, history), (other, wanted) = found, expected
    for entry, reference in zip(history, wanted, strict=True):
        seen, known = entry.line(), reference.line()
        assert seen.keys() == known.keys() and seen["validation_loss"] is not None
        for key in seen.keys() - {"seconds"}:
            assert seen[key] == pytest.approx(known[key], rel=0, abs=1e-5), (entry.epoch, key)
    state = other.state_dict()
    for key, value in module.state_dict().items():
        pair = [decided(name, key, tensor) for tensor in (value, state[key])]
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_does(together, alone, data, name):
    """Losses, all that is noted, and weights, to 1e-5."""
    assert_equal(name, trained(name, data, together), alone[name])


@pytest.mark.parametrize("name", TAKEN_UP)
def test_other_numbers_of_processes_go_on_with_a_checkpoint(together, alone, data, name):
    """Two after one (all is done: nothing is left to train), and one after two."""
    assert len(Checkpoint(together / "taken up" / f"{name}.pt", name).load()["history"]) == EPOCHS
    assert len(Checkpoint(together / "half" / f"{name}.pt", name).load()["history"]) == CUT
    assert_equal(name, trained(name, data, together / "taken up"), alone[name])
    assert_equal(name, trained(name, data, together / "half"), alone[name])


def test_some_layers_of_a_view_go_to_processes_as_paths(data):
    """As a committee's member has them."""
    layers = with_layers(data.maps.rows([4, 0, 2]), [LAYERS[1]])
    found = _opened(ForkingPickler.loads(ForkingPickler.dumps(_as_path(layers))))
    assert found.fingerprint == layers.fingerprint and list(found) == [LAYERS[1]]
    assert torch.equal(found.tensors([0, 1])[LAYERS[1]], data.maps.tensors([4, 0])[LAYERS[1]])


def test_views_go_to_processes_as_paths(data):
    """They arrive as they were, also inside the data of a method, and take less room than their rows."""
    order = np.array([8, 2, 5, 2])
    whole = TrainingData(Rows(data.images, order), data.maps.rows(order), len(order))
    sent = bytes(ForkingPickler.dumps(_as_path(whole)))
    assert len(sent) < 2000 < data.images[:1].nbytes
    found = _opened(ForkingPickler.loads(sent))
    assert isinstance(found.images.array, np.memmap) and found.images.array.filename == data.images.filename
    np.testing.assert_array_equal(found.images.order, order)
    np.testing.assert_array_equal(found.images[[0, 3]], data.images[[8, 2]])
    assert found.features.fingerprint == whole.features.fingerprint
    for layer, values in whole.features.tensors([3, 0]).items():
        assert torch.equal(found.features.tensors([3, 0])[layer], values)
        assert isinstance(found.features.whole[layer].base, np.memmap)
    again = _opened(ForkingPickler.loads(ForkingPickler.dumps(_as_path({"part": data.maps.rows(order).rows([1])}))))
    np.testing.assert_array_equal(again["part"].order, [2])


def test_shares_are_the_batch_and_none_is_empty():
    batch = np.array([5, 3, 8, 1, 9])
    shards = [ProcessGroup(rank, 3).shard(batch) for rank in range(3)]
    assert [list(shard.rows) for shard in shards] == [[5, 1], [3, 9], [8]]
    assert [(shard.images, shard.batch) for shard in shards] == [(2, 5), (2, 5), (1, 5)]
    rows, images, whole = ProcessGroup(2, 3).shard(batch[:2])
    assert list(rows) == [5] and images == 0 and whole == 2


def test_batch_normalisation_alone_is_pytorchs():
    values = torch.randn(30, 4)
    ours, theirs = BatchNorm(4), nn.BatchNorm1d(4)
    assert torch.equal(ours(values), theirs(values)) and torch.equal(ours.eval()(values), theirs.eval()(values))
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("function", "more", "error", "message"),
    [
        (with_fault, (refuse,), InputError, r"^fault: 1 given; expected: none$"),
        (with_fault, (break_down,), LostProcessError, r"(?s)^training: process 2 of 2 failed:.*ZeroDivisionError"),
        (with_fault, (die,), LostProcessError, r"^training: process 2 of 2 was ended by SIGKILL.*goes on from there$"),
        (diverging, (), DivergedError, r"^training: the loss became nan in epoch 3; the state after epoch 2 is kept"),
    ],
)
def test_what_goes_wrong_in_a_process_is_the_one_error_and_the_checkpoint_stays(
    tmp_path, capfd, function, more, error, message
):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    path = tmp_path / "line.pt"
    with pytest.raises(error, match=message) as caught:
        run_distributed(2, "cpu", function, (path, *more))
    assert type(caught.value) is error
    assert "Traceback" not in capfd.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(Checkpoint(path, "line").load()["history"]) == 2
    assert [file.name for file in tmp_path.glob("*.by_*")] == ["line.by_0"]
    module, history = learn_line(path)
    expected, whole = learn_line(tmp_path / "whole.pt")
    torch.testing.assert_close(module.state_dict(), expected.state_dict(), rtol=0, atol=1e-5)
    assert [entry.loss for entry in history] == pytest.approx([entry.loss for entry in whole], rel=0, abs=1e-5)


def test_a_method_runs_in_two_processes_through_kedro(project, part):
    given = {"epochs": 3, "batch_size": 3, "device": "cpu", "region": 16, "batch_norm": False}
    folder, losses = project / "data/06_models/folder/disc/dfr", []
    for processes in (2, 1):
        version = run_method("dfr", project, part, stages=["ingestion", "training"], processes=processes, **given)
        losses.append(pd.read_csv(folder / f"history.csv/{version}/history.csv")[["loss", "validation_loss"]])
        (folder / "checkpoint.pt").unlink()  # the next run takes it up else
    assert np.abs(losses[0] - losses[1]).to_numpy().max() < 1e-5
    assert (losses[0].iloc[0] > losses[0].iloc[-1]).all()


def test_a_card_of_several_processes_is_read_where_there_is_one_gpu(backbone, tmp_path, monkeypatch):
    card = new_card(DFR, CASES["dfr"], backbone, image_size=(96, 96), data_digest="d", latent_dim=12)
    card.parameters.update(processes=2, device="cuda")
    save_method(DFR(backbone, CASES["dfr"], card), tmp_path / "detector")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    detector = load_method(tmp_path / "detector")
    assert detector.card.parameters["processes"] == 2 and detector.parameters_used.processes == 1


def test_processes_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(InputError, match=r"processes.*greater than or equal to 1"):
        DFRParameters.model_validate({"processes": 0})
    with pytest.raises(InputError, match="device: cuda:1 is one GPU, but processes is 2; expected cuda, auto or cpu"):
        check_processes(2, "cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        InputError, match="processes: 2 given, but PyTorch finds 1 GPU; expected at most 1, or device=cpu"
    ):
        DFRParameters.model_validate({"processes": 2, "device": "auto"})
    assert DFRParameters.model_validate({"processes": 2, "device": "cpu"}).processes == 2


def test_the_number_of_processes_decides_nothing(data):
    prints = {DFRParameters(processes=n, device="cpu").fingerprint(data.regional, examples=9) for n in (1, 2)}
    assert len(prints) == 1
