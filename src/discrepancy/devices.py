"""Devices as users name them, the number of processes that may share them, and the precision of their arithmetic."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator

from discrepancy.errors import InputError

# Products on several streams are reproducible with this alone; it counts only if it is set before the first of them.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve_device(device: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU if one is available.

    Raises:
        InputError: an unknown name, or a GPU where PyTorch finds none of this number.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"device: {device!r} given; expected auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise InputError(f"device: {device!r} asked for, but PyTorch finds no GPU; expected auto or cpu")
        if number and int(number) >= count:
            raise InputError(f"device: {device!r} asked for, but PyTorch finds {_gpus(count)}; expected auto or cuda")
    return torch.device(device)


def _known(device: str) -> str:
    resolve_device(device)
    return device


DeviceName = Annotated[str, AfterValidator(_known)]
"""Name of a device in parameters; one that this machine does not have is refused."""


Precision = Literal["fp32", "tf32", "bf16"]
"""Precision of matrix products and convolutions; see `computing_in`."""


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Set the precision of products of float32 numbers on a GPU, in convolutions too; restore the old one afterwards.

    `fp32` uses all bits of both factors. `tf32` rounds them to 10 bits after the first, about three decimal digits;
    `bf16` does the same, and the training loop computes in bfloat16 besides (autocast). PyTorch's own default is `tf32`
    for convolutions and `fp32` for matrix products. A CPU always uses all bits.
    """
    before = _tf32()
    _set_tf32(precision != "fp32", precision != "fp32")
    try:
        yield
    finally:
        _set_tf32(*before)


def _tf32() -> tuple[bool, bool]:
    """Return whether matrix products and convolutions use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(matmul: bool, convolutions: bool) -> None:
    with warnings.catch_warnings():  # PyTorch has announced other names for these switches
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def reproducible(asked: bool, *, strictly: bool = True) -> Iterator[None]:
    """Have operations on a GPU give the same numbers each time, if asked to; restore the old setting afterwards.

    Without it a few operations add in the order in which their threads happen to finish: those of DFC's convolutions'
    gradients, for example. On a CPU everything is reproducible anyway, with the same number of threads.

    Args:
        asked: whether to; if not, nothing changes.
        strictly: an operation that has no reproducible way raises RuntimeError; otherwise it gives a warning.
    """
    if not asked:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False  # it is written to anyway
    torch.use_deterministic_algorithms(True, warn_only=not strictly)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


def actual_precision(precision: Precision, device: torch.device) -> Precision:
    """Return the precision in which a device computes: `tf32` is `fp32` on a CPU."""
    return "fp32" if precision == "tf32" and device.type == "cpu" else precision


def device_title(device: torch.device) -> str:
    """Return the name of a device for logs and cards: `cpu`, or the model of a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_processes(processes: int, device: str) -> None:
    """Validate the number of processes that share one training.

    Raises:
        InputError: more processes than GPUs, or one GPU named for several processes.
    """
    if processes == 1:
        return
    if ":" in device:
        raise InputError(f"device: {device} is one GPU, but processes is {processes}; expected cuda, auto or cpu")
    if resolve_device(device).type == "cuda" and processes > (found := torch.cuda.device_count()):
        raise InputError(
            f"processes: {processes} given, but PyTorch finds {_gpus(found)}; expected at most {found}, or device=cpu"
        )


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' * (count != 1)}"
