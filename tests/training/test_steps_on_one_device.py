"""A training step, and the loss of held-out images, stay on the device; the estimate of memory takes every method."""

import copy
import logging
from contextlib import nullcontext

import pytest
import torch

from discrepancy.devices import computing_in
from discrepancy.methods.dfr.model import DFRTask
from discrepancy.training.memory_estimate import training_bytes
from tests.tiny import training_data
from tests.training.test_launch import CASES, data, problem_of  # noqa: F401

pytestmark = pytest.mark.sessions


def batch_of(problem, case):
    return problem.batch(0, torch.arange(CASES[case].batch_size).numpy())


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_leaves_nothing_on_the_cpu(case, precision, data, monkeypatch):  # noqa: F811
    """On the `meta` device an operation with a tensor of the CPU fails, as it would on a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know `meta`
    _, problem, _ = problem_of(case, data)
    batch = {name: values.to("meta") for name, values in batch_of(problem, case).items()}
    problem.detector = copy.deepcopy(problem.detector).to("meta")  # its frozen network is that of other tests
    trained = list(problem.detector.trained_network.parameters())
    with computing_in(precision):
        problem.loss(batch).backward()
        assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in trained)
        with torch.inference_mode():
            assert problem.loss(batch).shape == ()


@pytest.mark.parametrize("case", CASES)
def test_every_method_s_memory_can_be_estimated(case, data):  # noqa: F811
    module, problem, _ = problem_of(case, data)
    batch = batch_of(problem, case)
    needed, twice = (
        training_bytes(
            problem.detector, module, problem.loss, {name: values.repeat(n, 1, 1, 1) for name, values in batch.items()}
        )
        for n in (1, 2)
    )
    weights = sum(tensor.nbytes for tensor in problem.detector.parameters())
    assert weights < needed < twice < 2.2 * needed


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU with this much free memory, as far as what is said before a training goes."""
    monkeypatch.setattr("discrepancy.methods.gradient.resolve_device", lambda device: torch.device("cuda", 1))
    monkeypatch.setattr("discrepancy.methods.gradient.free_memory", lambda device: 3 * 2**30)


def announced(case, data, caplog):  # noqa: F811
    caplog.set_level(logging.DEBUG, "discrepancy")
    _, problem, _ = problem_of(case, data)
    features = problem.features
    prepared = {"reference": data.reference}
    problem.detector._announce_memory(training_data(features, 10, data.images, **prepared))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("case", ["dfc", "dfr", "fod"])
def test_the_memory_is_told_before_a_training_on_a_gpu(case, data, gpu, caplog):  # noqa: F811
    (message,) = announced(case, data, caplog)
    assert message.startswith(f"{case}: training needs about 0.") and message.endswith("3.0 GiB are free")


def test_a_loss_that_looks_at_values_has_no_estimate(data, gpu, caplog, monkeypatch):  # noqa: F811
    monkeypatch.setattr(DFRTask, "loss", lambda self, batch: torch.tensor(batch[next(iter(batch))].sum().item()))
    (message,) = announced("dfr", data, caplog)
    assert "no estimate" in message and caplog.records[0].levelname == "DEBUG"


def test_nothing_is_said_on_a_cpu(data, caplog):  # noqa: F811
    assert announced("dfr", data, caplog) == []
