"""Names of devices as users type them, and the number of processes that may use them together."""

from __future__ import annotations

import torch

from discrepancy.errors import InputError


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
