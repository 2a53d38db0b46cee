"""What a user is told where the device's memory is short, and of devices that are not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from discrepancy.detection.scoring import LazyScores
from discrepancy.devices import resolve_device
from gpu_checks.measure import forget_peak
from gpu_checks.options import Options
from gpu_checks.settings import default_parameters
from gpu_checks.speed import speed_case

LEFT = 64 * 2**20
"""Bytes that a training is left beyond what its weights take."""


def devices(options: Options, found: dict[str, Any]) -> None:
    """What each name of a device comes to."""
    del options
    names = ("auto", "cpu", "cuda", "cuda:0", "cuda:7", "cuda:x", "gpu")
    found["resolve_device"] = {name: outcome(lambda name=name: str(resolve_device(name))) for name in names}
    found["parameters"] = {
        name: outcome(lambda name=name: default_parameters("dfr", device=name).device) for name in names
    }
    found["a_tensor_on_it"] = {
        name: outcome(lambda name=name: str(torch.zeros(1, device=resolve_device(name)).device)) for name in names
    }


def memory(options: Options, found: dict[str, Any]) -> None:
    """What training and scoring raise when the device's memory is used up."""
    if options.device.type != "cuda":
        found["skipped"] = "the memory of a GPU can be limited"
        return
    device, found["lines"] = options.device, []
    for method in options.methods:
        case = speed_case(options, method)
        settings = replace(case.parameters.training, epochs=1)

        def score(case: Any = case) -> None:
            for _ in LazyScores(case.detector, case.images, device, 32).pieces():
                pass

        actions: dict[str, Callable[[], object]] = {"training": lambda: case.fit(settings), "scoring": score}  # noqa: B023
        for name, action in actions.items():
            forget_peak(device)
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + LEFT) / total, device)
            try:
                found["lines"].append({"method": method, "what": name, "outcome": outcome(action)})
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, device)


def outcome(action: Callable[[], object]) -> str:
    """What an action returns, or the type and the words of what it raises."""
    try:
        return str(action())
    except Exception as error:  # whatever it is, it is what a user would see
        return f"{type(error).__name__}: {str(error)[:400]}"
