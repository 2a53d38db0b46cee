"""Devices by name, and the precision in which they compute."""

import os

import pytest
import torch

from discrepancy.devices import actual_precision, computing_in, device_title, reproducible, resolve_device
from discrepancy.errors import InputError

CPU = torch.device("cpu")


def tf32():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_devices():
    assert resolve_device("cpu") == CPU and device_title(CPU) == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="'gpu'"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            resolve_device("cuda:0")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_precision_holds_inside_and_is_undone_after(precision):
    before = tf32()
    with computing_in("fp32" if precision != "fp32" else "tf32"):
        around = tf32()
        with pytest.raises(KeyboardInterrupt), computing_in(precision):
            assert tf32() == (precision != "fp32",) * 2
            raise KeyboardInterrupt
        assert tf32() == around
    assert tf32() == before == (False, True)  # PyTorch's own: convolutions in TF32


def test_a_cpu_has_no_tf32():
    gpu = torch.device("cuda")
    assert [actual_precision(name, CPU) for name in ("fp32", "tf32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert [actual_precision(name, gpu) for name in ("fp32", "tf32", "bf16")] == ["fp32", "tf32", "bf16"]


def deterministic():
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("strictly", [True, False])
def test_reproducible_operations_are_asked_for_inside_and_not_after(strictly):
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in {":4096:8", ":16:8"}
    with pytest.raises(KeyboardInterrupt), reproducible(True, strictly=strictly):
        assert deterministic() == (True, not strictly)
        assert not torch.utils.deterministic.fill_uninitialized_memory
        raise KeyboardInterrupt
    assert deterministic() == (False, False)
    assert torch.utils.deterministic.fill_uninitialized_memory
    with reproducible(False):
        assert deterministic() == (False, False)


def test_an_operation_without_a_reproducible_way_is_refused_or_warned_of():
    """On a CPU too PyTorch knows of some."""
    values, rows = torch.zeros(3), torch.tensor([0, 0])

    def add():
        return values.clone().put_(rows, torch.ones(2))

    with reproducible(True), pytest.raises(RuntimeError, match="deterministic"):
        add()
    with reproducible(True, strictly=False), pytest.warns(UserWarning, match="deterministic"):
        add()
