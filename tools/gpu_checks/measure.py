"""Times, memory, operations and busy time of a training step."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gpu_checks.cases import Case

MIB = 2**20
SHOWN = 20
"""Kernels and operations of a profile that are named."""
TURNS = 5
"""A time is the median of so many turns."""


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_step(
    case: Case, optimiser: torch.optim.Optimizer, batch: Mapping[str, Tensor], autocast: bool
) -> Callable[[], Tensor]:
    """One step as the training loop takes it, on a batch that is on the device already; returns the loss."""

    def step() -> Tensor:
        with torch.autocast(case.device.type, torch.bfloat16, enabled=autocast):
            loss: Tensor = case.task.loss(batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def time_calls(call: Callable[[], object], device: torch.device, *, seconds: float, warm_up: int = 3) -> dict[str, Any]:
    """Milliseconds of one call: until the device is done, until the host is free again, and of the host's CPUs.

    Args:
        call: what is timed.
        device: waited for.
        seconds: to spend on it.
        warm_up: calls before.
    """
    for _ in range(warm_up):
        call()
    wait(device)
    began = time.perf_counter()
    call()
    wait(device)
    once = time.perf_counter() - began
    count = max(1, min(50, round(seconds / TURNS / once)))
    turns = [_turn(call, device, count) for _ in range(TURNS)]
    names = ("ms", "host_ms", "cpu_ms")
    return {name: statistics.median(turn[index] for turn in turns) for index, name in enumerate(names)}


def _turn(call: Callable[[], object], device: torch.device, count: int) -> tuple[float, float, float]:
    wait(device)
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(count):
        call()
    issued = time.perf_counter()
    wait(device)
    done, used = time.perf_counter(), time.process_time() - cpu
    return 1e3 * (done - began) / count, 1e3 * (issued - began) / count, 1e3 * used / count


def counted_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the products, convolutions and attentions of one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def forget_peak(device: torch.device) -> None:
    """Begin to look for the highest use of memory."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float | None]:
    """Highest memory since then, MiB: of tensors, and as PyTorch has taken it from the device."""
    if device.type != "cuda":
        return {"allocated_mib": None, "reserved_mib": None}
    return {
        "allocated_mib": torch.cuda.max_memory_allocated(device) / MIB,
        "reserved_mib": torch.cuda.max_memory_reserved(device) / MIB,
    }


def profiled(call: Callable[[], object], device: torch.device, *, calls: int = 3) -> dict[str, Any]:
    """Profile a call on a GPU and on the host: milliseconds in kernels, their number, and the costliest of both."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        call()
    wait(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            call()
        wait(device)
    kernels: Counter[str] = Counter()
    launches = 0
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA and not event.name.startswith(("Optimizer.", "ProfilerStep")):
            kernels[event.name[:90]] += event.time_range.elapsed_us()
            launches += 1
    host = Counter({entry.key[:60]: entry.self_cpu_time_total for entry in profiler.key_averages()})
    return {
        "busy_ms": sum(kernels.values()) / 1e3 / calls,
        "kernels": launches / calls,
        "costliest_kernels": _shares(kernels),
        "costliest_on_the_host": _shares(host),
    }


def _shares(times: Counter[str]) -> list[dict[str, Any]]:
    """The largest, as shares of all."""
    total = sum(times.values())
    return [{"name": name, "share": spent / total} for name, spent in times.most_common(SHOWN)]
