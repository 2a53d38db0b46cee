"""Whether the device gives the CPU's numbers: loss, gradients, weights after some steps, anomaly maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.detection.scoring import LazyScores
from discrepancy.detection.storage import load_method, save_method
from discrepancy.devices import Precision
from discrepancy.methods.base import Method
from discrepancy.methods.parameters import GradientParameters
from gpu_checks.cases import Case, build_case, smooth_images, weights_at_hand
from gpu_checks.measure import training_step
from gpu_checks.options import Options
from gpu_checks.precision import precision
from gpu_checks.settings import FIXED, default_parameters, paper_parameters, small_parameters

CPU = torch.device("cpu")


@dataclass
class Trained:
    """Outcome of some training steps, on the CPU: the first loss, its gradients, all weights."""

    loss: float
    gradients: list[Tensor]
    weights: list[Tensor]


def subjects(options: Options) -> Iterator[tuple[str, str, GradientParameters]]:
    """Method, name and parameters of what is compared: the defaults, and the papers' but for the images' size."""
    weights, device = weights_at_hand(), options.device.type
    for method in options.methods:
        if options.tiny:
            yield method, "small", small_parameters(method, weights=weights, device=device)
        else:
            yield method, "defaults", default_parameters(method, weights=weights, device=device)
            yield method, "paper", paper_parameters(method, weights="random", device=device, **FIXED.get(method, {}))


def equality(options: Options, found: dict[str, Any]) -> None:
    """Largest relative deviations from the CPU, of each method, parameters and precision."""
    found |= {"steps": options.steps, "images": options.images, "side": options.side, "lines": []}
    images = smooth_images(options.images, options.side)
    for method, name, parameters in subjects(options):
        base, case = (
            build_case(method, parameters, images, folder=options.cache, device=device)
            for device in (CPU, options.device)
        )
        expected = train(base, "fp32", options.steps)
        base.detector.fit_residual_scaler(base.data)
        folder = options.folder / f"{method}_{name}"
        save_method(base.detector, folder)
        detector, maps = load_method(folder), scored(base.detector, images, CPU)
        for mode in options.precisions:
            line = {"method": method, "parameters": name, "precision": mode}
            line |= deviations(train(case, mode, options.steps), expected, list(base.start.values()))
            if mode != "bf16":  # scoring has no autocast
                detector.parameters_used = detector.parameters_used.model_copy(update={"precision": mode})
                line["maps"] = map_deviation(scored(detector, images, options.device), maps)
            if mode == "fp32":
                line["maps_after_training_here"] = _moved_to_cpu(options, case)
            found["lines"].append(line)


def train(case: Case, mode: Precision, steps: int) -> Trained:
    """Take a few steps from the start, with the optimiser of a run."""
    case.restart()
    optimiser = case.optimiser()
    case.module.train()
    with precision(mode) as autocast:
        loss, gradients = _first_step(case, optimiser, autocast)
        for number in range(1, steps):
            training_step(case, optimiser, case.batch(number), autocast)()
    case.module.eval()
    return Trained(loss, gradients, [value.detach().cpu().clone() for value in case.module.state_dict().values()])


def _first_step(case: Case, optimiser: torch.optim.Optimizer, autocast: bool) -> tuple[float, list[Tensor]]:
    """The first step in its parts, as some optimisers put other gradients in place of those of the loss."""
    with torch.autocast(case.device.type, torch.bfloat16, enabled=autocast):
        loss = case.task.loss(case.batch(0))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [
        (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).detach().cpu().clone()
        for parameter in case.module.parameters()
    ]
    optimiser.step()
    return float(loss.detach()), gradients


def deviations(one: Trained, other: Trained, start: list[Tensor]) -> dict[str, float]:
    """Return how far one training is from the other: the loss, the gradients, and the way that the weights went."""
    return {
        "loss": abs(one.loss - other.loss) / abs(other.loss),
        "gradients": _norm(_minus(one.gradients, other.gradients)) / _norm(other.gradients),
        "weights": _norm(_minus(one.weights, other.weights)) / _norm(_minus(other.weights, start)),
    }


def _minus(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    return [a - b for a, b in zip(one, other, strict=True)]


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t.double()) for t in tensors])))


def scored(detector: Method, images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Anomaly maps [N, H, W] of images."""
    return torch.from_numpy(LazyScores(detector, images, device).computed().maps)


def map_deviation(maps: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((maps - expected).abs().max() / expected.max())


def _moved_to_cpu(options: Options, case: Case) -> float:
    """Of a detector that was trained, weighed and saved here, and scores on the CPU."""
    folder = options.folder / f"{case.method}_here"
    with precision("fp32"):
        case.detector.fit_residual_scaler(case.data)
        save_method(case.detector, folder)
        here = scored(case.detector, case.images, case.device)
    return map_deviation(here, scored(load_method(folder), case.images, CPU))
