"""Whether whole trainings work: one that goes on from a checkpoint, and checkpoints that change the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_checks.cases import Case, build_case, smooth_images, weights_at_hand
from gpu_checks.options import Options
from gpu_checks.settings import default_parameters, small_parameters

CPU = torch.device("cpu")
EPOCHS = 4


def training(options: Options, found: dict[str, Any]) -> None:
    """Of each method: how far a training that was stopped halfway is from one that was not."""
    found |= {"epochs": EPOCHS, "lines": []}
    for method in options.methods:
        here, cpu = (_case(options, method, device) for device in (options.device, CPU))
        whole, _ = _trained(here, EPOCHS, None)
        checkpoint, from_cpu = options.folder / f"{method}.ckpt", options.folder / f"{method}_cpu.ckpt"
        _trained(here, EPOCHS // 2, checkpoint)
        resumed, epochs = _trained(here, EPOCHS, checkpoint)
        _, on_cpu = _trained(cpu, EPOCHS + 1, checkpoint)
        _trained(cpu, EPOCHS // 2, from_cpu)
        _, on_device = _trained(here, EPOCHS, from_cpu)
        found["lines"].append(
            {
                "method": method,
                "resumed_equals_uninterrupted": all(map(torch.equal, whole, resumed)),
                "largest_difference": max(float((a - b).abs().max()) for a, b in zip(whole, resumed, strict=True)),
                "epochs_when_resumed": epochs,
                "epochs_when_resumed_on_the_cpu": on_cpu,
                "epochs_of_a_cpu_checkpoint_resumed_here": on_device,
            }
        )


def _trained(case: Case, epochs: int, checkpoint: Path | None) -> tuple[list[Tensor], int]:
    """Weights after a training from the start, and the epochs in its history."""
    case.restart()
    history = case.fit(replace(case.parameters.training(1), epochs=epochs, schedule="constant"), checkpoint)
    return [value.detach().cpu().clone() for value in case.module.state_dict().values()], len(history)


def _case(options: Options, method: str, device: torch.device) -> Case:
    chosen = small_parameters if options.tiny else default_parameters
    parameters = chosen(method, weights=weights_at_hand(), device=device.type)
    return build_case(
        method, parameters, smooth_images(options.images, options.side), folder=options.cache, device=device
    )
