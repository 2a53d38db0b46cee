"""What recording FOD's training step as a CUDA graph brings, and whether it changes a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from discrepancy.devices import Precision
from discrepancy.training.loop import Epoch
from gpu_checks.cases import Case
from gpu_checks.options import Options
from gpu_checks.speed import speed_case

EPOCHS = 3


def graph(options: Options, found: dict[str, Any]) -> None:
    """Train FOD by the training loop, its step plain and recorded: times of a step, losses and weights."""
    found |= {"epochs": EPOCHS, "lines": []}
    case = speed_case(options, "fod")
    for mode in options.precisions:
        before, eager_history = _trained(case, mode, recorded=False)
        after, history = _trained(case, mode, recorded=True)
        checkpoint = options.folder / f"graph_{mode}.ckpt"
        _trained(case, mode, recorded=True, epochs=EPOCHS - 1, checkpoint=checkpoint)
        resumed, _ = _trained(case, mode, recorded=True, checkpoint=checkpoint)
        apart = max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
        eager_ms, ms = (_step_ms(case, lines) for lines in (eager_history, history))
        found["lines"].append(
            {
                "method": "fod",
                "precision": mode,
                "steps": EPOCHS * len(case.images) // case.parameters.batch_size,
                "eager_ms": eager_ms,
                "graph_ms": ms,
                "speed_up": eager_ms / ms,
                "losses_equal": [line.loss for line in history] == [line.loss for line in eager_history],
                "metrics_equal": [line.noted for line in history] == [line.noted for line in eager_history],
                "weights_equal": all(map(torch.equal, after, before)),
                "largest_weight_difference": apart,
                "resumed_equal": all(map(torch.equal, resumed, after)),
            }
        )


def _trained(
    case: Case, mode: Precision, *, recorded: bool, epochs: int = EPOCHS, checkpoint: Path | None = None
) -> tuple[list[Tensor], list[Epoch]]:
    """Weights and history of a training from the start, or from a checkpoint."""
    case.restart()
    case.task.many_small_steps = recorded
    settings = replace(case.parameters.training(1), epochs=epochs, precision=mode, schedule="constant")
    history = case.fit(settings, checkpoint)
    return [value.detach().cpu().clone() for value in case.module.state_dict().values()], history


def _step_ms(case: Case, history: list[Epoch]) -> float:
    """Milliseconds of a step, the first epoch left out."""
    steps = len(case.images) / case.parameters.batch_size
    return 1e3 * sum(epoch.seconds for epoch in history[1:]) / (EPOCHS - 1) / steps
