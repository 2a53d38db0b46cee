"""Whether FOD's training step can be captured in a CUDA graph, and what that brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpu_checks.cases import Case
from gpu_checks.measure import time_calls, training_step, wait
from gpu_checks.options import Options
from gpu_checks.precision import precision
from gpu_checks.speed import speed_case

STEPS = 20


def graph(options: Options, found: dict[str, Any]) -> None:
    """FOD's step as a graph against the same step launched operation by operation: times, and numbers."""
    if options.device.type != "cuda":
        found["skipped"] = "CUDA graphs need a GPU"
        return
    found["lines"] = []
    case = speed_case(options, "fod")
    case.module.train()
    for mode in ("fp32", "default", "tf32", "bf16"):
        with precision(mode) as autocast:
            case.restart()
            eager_losses, eager, eager_times = _run(case, autocast, captured=False)
            case.restart()
            losses, weights, times = _run(case, autocast, captured=True)
        way = max(float((a - case.start[name]).abs().max()) for name, a in eager.items())
        found["lines"].append(
            {
                "precision": mode,
                "eager_ms": eager_times["ms"],
                "graph_ms": times["ms"],
                "speed_up": eager_times["ms"] / times["ms"],
                "graph_cpu_ms": times["cpu_ms"],
                "losses_equal": losses == eager_losses,
                "largest_loss_deviation": max(abs(a - b) / abs(b) for a, b in zip(losses, eager_losses, strict=True)),
                "weights_equal": all(torch.equal(weights[name], eager[name]) for name in eager),
                "largest_weight_difference": max(float((weights[n] - eager[n]).abs().max()) for n in eager),
                "largest_way_of_a_weight": way,
            }
        )


def _run(case: Case, autocast: bool, *, captured: bool) -> tuple[list[float], dict[str, Tensor], dict[str, Any]]:
    """Losses of some steps, the weights after them, and the times of a step.

    One plain step comes first either way: `ZeroGradientAdam` treats a parameter's first step apart.
    """
    optimiser = case.optimiser()
    for group in optimiser.param_groups:
        group["capturable"] = captured
    batch = {name: values.clone() for name, values in case.batch(0).items()}
    step = training_step(case, optimiser, batch, autocast)
    step()
    if captured:
        places = [*case.module.state_dict().values(), *_moments(optimiser)]
        values = [place.clone() for place in places]
        step = _captured(case, optimiser, step)
        for place, value in zip(places, values, strict=True):
            place.copy_(value)
    losses = []
    for number in range(1, STEPS + 1):
        for name, given in case.batch(number).items():
            batch[name].copy_(given)
        losses.append(step().clone())
    weights = {name: value.clone() for name, value in case.module.state_dict().items()}
    return [float(loss) for loss in losses], weights, time_calls(step, case.device, seconds=1.5)


def _moments(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """The optimiser's tensors, where the graph will look for them."""
    return [value for state in optimiser.state.values() for value in state.values() if isinstance(value, Tensor)]


def _captured(case: Case, optimiser: torch.optim.Optimizer, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The step as a graph; the same result tensor is filled anew at each call."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    wait(case.device)
    optimiser.zero_grad(set_to_none=True)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        loss = step()

    def replay() -> Tensor:
        recorded.replay()
        return loss

    return replay
