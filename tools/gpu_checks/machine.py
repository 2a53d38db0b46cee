"""What the machine is, and what it reaches: matrix products and copies."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import Any

import torch

from discrepancy.devices import Precision
from gpu_checks.measure import wait
from gpu_checks.options import Options
from gpu_checks.precision import precision


def machine(options: Options, found: dict[str, Any]) -> None:
    """Names and versions, then rates measured."""
    device = options.device
    found |= {"device": device.type, "torch": torch.__version__, "python": platform.python_version()}
    found |= {"cpu_cores": os.cpu_count(), "cpu_threads": torch.get_num_threads()}
    if device.type == "cuda":
        found |= _card(device)
    side = 256 if options.tiny else 8192
    modes: list[tuple[Precision, torch.dtype]] = [
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
    ]
    found["matmul_tflops"] = {mode: _matmul_rate(mode, dtype, side, device) for mode, dtype in modes}
    small = torch.zeros(1, device=device)
    found["operation_us"] = 1e6 * _best_time(lambda: small.add_(1), device, repeats=500)
    found["copy_gb_per_s"] = _copy_rate(2**20 if options.tiny else 2**32, device)


def _card(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = "unknown"
    return {
        "gpu": properties.name,
        "gpus": torch.cuda.device_count(),
        "memory_gib": properties.total_memory / 2**30,
        "multiprocessors": properties.multi_processor_count,
        "capability": list(torch.cuda.get_device_capability(device)),
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _matmul_rate(mode: Precision, dtype: torch.dtype, side: int, device: torch.device) -> float:
    """TFLOP/s of a square product of random numbers, the best of three turns."""
    one, two = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    with precision(mode):
        return 2 * side**3 / 1e12 / _best_time(lambda: one @ two, device)


def _copy_rate(size: int, device: torch.device) -> float:
    """GB/s of a copy on the device, bytes read plus bytes written."""
    source = torch.ones(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size / 1e9 / _best_time(lambda: target.copy_(source), device)


def _best_time(call: Any, device: torch.device, *, repeats: int = 8) -> float:
    best = float("inf")
    for _ in range(4):  # the first turn warms up
        wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        wait(device)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best
