"""A training step, and the loss of held-out images, stay on the device; the estimate of memory takes every method."""

import copy
from contextlib import nullcontext

import pytest
import torch

from discrepancy.devices import computing_in
from discrepancy.training.memory_estimate import training_bytes
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
