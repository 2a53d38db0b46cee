"""Devices by name, and the precision in which they compute."""

import pytest
import torch

from discrepancy.devices import actual_precision, computing_in, device_title, resolve_device
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
