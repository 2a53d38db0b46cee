"""The training loop: shuffling, learning rate, precision, progress, checkpoints that resume bit for bit.

No random state is carried from step to step. The order of epoch e is drawn from (seed, e), and a task draws the
randomness of image i from (seed, e, i). So a checkpoint is weights, optimiser state and the number of finished epochs.
A run that was killed and started again ends, on a CPU, with the weights of one that never was.

A process that belongs to a group (`launch.py`) takes its shard of every batch and the gradients of the whole batch. The
number of processes is in no state: another number of them may continue from a checkpoint.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from discrepancy.devices import computing_in, reproducible
from discrepancy.training.batches import epoch_batches
from discrepancy.training.checkpoint import Checkpoint, CheckpointPace, take_up
from discrepancy.training.graph import CUDARecorder, RecordedStep, Step, StepResult, set_rate, use_rate_tensors
from discrepancy.training.process_group import BatchShard, ProcessGroup, current_group
from discrepancy.training.settings import TrainingSettings
from discrepancy.training.task import Batch, ReportingTask, ResidentTask, TrainingTask, making_room

VALIDATIONS = 50
"""Validations of a long training, about: so many points make a curve, and none of them decides anything."""

logger = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """A loss that is not finite."""


@dataclass(frozen=True)
class Epoch:
    """One line of the training history; losses are means over the epoch's images.

    Attributes:
        epoch: counted from 1.
        loss: of the training images, while they were trained on.
        validation_loss: of held-out good images, after the epoch; None without such, or if the epoch was not validated.
        learning_rate: of the last step.
        seconds: training and validation.
        noted: further values of the task, by name.
    """

    epoch: int
    loss: float
    validation_loss: float | None
    learning_rate: float
    seconds: float
    noted: dict[str, float] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """Return all values by name, for a table."""
        return {name: value for name, value in asdict(self).items() if name != "noted"} | self.noted


def learning_rate(step: int, steps: int, settings: TrainingSettings) -> float:
    """Return the learning rate of step 0..steps-1: a function of the step alone, so that resuming needs no state."""
    if settings.schedule == "constant":
        return settings.learning_rate
    warm = max(1, steps // 10)
    low, final = 1 / 25, 1e-4
    if step < warm:
        fraction = (1 - math.cos(math.pi * step / warm)) / 2
        return settings.learning_rate * (low + (1 - low) * fraction)
    fraction = (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
    return settings.learning_rate * (final + (1 - final) * fraction)


def fit(
    module: nn.Module,
    task: TrainingTask,
    settings: TrainingSettings,
    *,
    device: torch.device,
    name: str = "training",
    checkpoint: Checkpoint | None = None,
    optimiser: torch.optim.Optimizer | None = None,
    progress: bool = True,
) -> list[Epoch]:
    """Train a module in place, by Adam unless told otherwise.

    Args:
        module: its trainable parameters are trained; moved to the device.
        task: gives batches and their loss.
        settings: epochs, batches, rates.
        device: where to train.
        name: shown beside the progress bar.
        checkpoint: file of the state; a run found there is resumed.
        optimiser: of the module's parameters, in place of Adam; its learning rate is set by the settings.
        progress: draw a progress bar.

    Returns:
        The history, one entry per epoch, those before a resumption included. In a group only the first process
        validates, calls `after_epoch`, and writes checkpoints.

    Raises:
        DivergedError: the loss is not finite; the last good checkpoint is kept.
    """
    group = current_group()
    is_main = group is None or group.is_main
    module.to(device).train()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = optimiser or torch.optim.Adam(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type == "cuda"
    )
    use_rate_tensors(optimiser, device)
    history = _resume(module, optimiser, checkpoint, name, settings.epochs)
    step = build_step(task, optimiser, settings, device, group)
    steps = math.ceil(task.examples / settings.batch_size)
    total = steps * settings.epochs
    hidden = not (progress and is_main)
    pace = CheckpointPace()
    bar = tqdm(total=total, initial=len(history) * steps, desc=name, unit="step", disable=hidden, mininterval=0.5)
    with bar, computing_in(settings.precision), reproducible(settings.deterministic):
        for epoch in range(len(history), settings.epochs):
            began = time.perf_counter()
            rates = [learning_rate(epoch * steps + number, total, settings) for number in range(steps)]
            batches = epoch_batches(task, epoch, settings, device, group)
            bar.set_description(f"{name} {epoch + 1}/{settings.epochs}", refresh=False)
            mean, noted = _train_epoch(step, batches, optimiser, rates, device, bar, group)
            validated = is_main and math.isfinite(mean) and _is_validated(epoch, settings.epochs)
            validation = _validate(module, task, settings, device) if validated else None
            if not math.isfinite(mean) or not _finite(parameters):
                raise DivergedError(_diverged(epoch, mean, checkpoint))
            seconds = time.perf_counter() - began
            if is_main and isinstance(task, ReportingTask):
                noted |= task.after_epoch()
                module.train()
            history.append(Epoch(epoch + 1, mean, validation, rates[-1], seconds, noted))
            last = epoch + 1 == settings.epochs
            if is_main and checkpoint and (last or (pace.due() and (epoch + 1) % settings.checkpoint_every == 0)):
                state = {"module": module.state_dict(), "optimiser": optimiser.state_dict()}
                with pace.written():
                    checkpoint.save({**state, "history": [asdict(entry) for entry in history]})
    module.eval()
    return history


def _finite(parameters: list[nn.Parameter]) -> bool:
    """Return whether all values are finite; the host waits for a GPU once, not once per parameter."""
    return bool(torch.stack([parameter.isfinite().all() for parameter in parameters]).all())


def _resume(
    module: nn.Module, optimiser: torch.optim.Optimizer, checkpoint: Checkpoint | None, name: str, epochs: int
) -> list[Epoch]:
    state = checkpoint.load() if checkpoint else None
    if checkpoint is None or state is None:
        return []
    try:
        history = _history(state.get("history"), epochs)
        take_up(state, module, optimiser)
    except ValueError as error:
        checkpoint.discard(error)
        return []
    logger.info("%s: resumed after epoch %d of %d", name, len(history), epochs)
    return history


def _history(stored: Any, epochs: int) -> list[Epoch]:
    """Return the epochs of a checkpoint.

    Raises:
        ValueError: it does not hold consecutive epochs.
    """
    try:
        history = [Epoch(**entry) for entry in stored]
        losses = [loss for entry in history for loss in (entry.loss, entry.validation_loss) if loss is not None]
        finite = all(map(math.isfinite, [*losses, *(entry.learning_rate + entry.seconds for entry in history)]))
        named = all(isinstance(value, int | float) for entry in history for value in entry.noted.values())
    except (TypeError, AttributeError):
        finite = named = False
    if not (finite and named):
        raise ValueError("its history is no list of epochs")
    numbers = [entry.epoch for entry in history]
    if numbers != list(range(1, len(numbers) + 1)) or not 0 < len(numbers) <= epochs:
        raise ValueError(f"its history has the epochs {str(numbers)[:40]}; expected 1 to at most {epochs}")
    return history


def build_step(
    task: TrainingTask,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    device: torch.device,
    group: ProcessGroup | None,
) -> Step:
    """Build the training step: recorded as a CUDA graph where that brings something, else plain."""
    reporting = task if isinstance(task, ReportingTask) else None

    def backward(batch: Batch) -> Tensor:
        with _autocast(settings, device):
            loss = task.loss(batch)
        optimiser.zero_grad(set_to_none=True)
        if group:
            return group.backward(loss, optimiser)
        loss.backward()
        return loss

    def step(batch: Batch) -> StepResult:
        loss = making_room(task, lambda: backward(batch))
        optimiser.step()
        metrics = reporting.extra_metrics() if reporting else {}
        return StepResult(loss.detach(), {name: value.detach() for name, value in metrics.items()})

    recorded = isinstance(task, ResidentTask) and task.is_resident and task.many_small_steps
    return RecordedStep(step, CUDARecorder(device)) if recorded and device.type == "cuda" and group is None else step


def _train_epoch(
    step: Step,
    batches: Iterator[tuple[BatchShard, Batch]],
    optimiser: torch.optim.Optimizer,
    rates: list[float],
    device: torch.device,
    bar: tqdm,
    group: ProcessGroup | None,
) -> tuple[float, dict[str, float]]:
    """Train for one epoch; return the mean loss per image, or the first one that is not finite, and extra metrics.

    The loss stays on the device and is checked every few steps: each check makes the host wait for a GPU.
    """
    check_every = 1 if device.type == "cpu" else 16
    weighted, examples = torch.zeros((), device=device, dtype=torch.float64), 0
    sums: dict[str, Tensor] = {}
    for number, (shard, batch) in enumerate(batches):
        set_rate(optimiser, rates[number])
        if group:
            group.weight = shard.images / shard.batch
        loss, metrics = step(batch)
        weighted += loss * shard.batch
        examples += shard.batch
        for name, amount in metrics.items():
            part = amount.double() * shard.images
            sums[name] = sums[name] + part if name in sums else part
        if number % check_every == 0:
            value = float(loss)
            if not math.isfinite(value):
                return value, {}
            bar.set_postfix(loss=f"{value:.4f}", refresh=False)
        bar.update()
    if group and sums:
        sums = dict(zip(sums, group.sum(torch.stack(list(sums.values()))), strict=True))
    return float(weighted) / examples, {name: float(total) / examples for name, total in sums.items()}


def _autocast(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def _is_validated(epoch: int, epochs: int) -> bool:
    """Return whether epoch 0..epochs-1 is validated: at equal distances, the first and the last one in any case."""
    return epoch % math.ceil(epochs / VALIDATIONS) == 0 or epoch + 1 == epochs


def _validate(module: nn.Module, task: TrainingTask, settings: TrainingSettings, device: torch.device) -> float | None:
    module.eval()
    with torch.inference_mode(), _autocast(settings, device):
        value = making_room(task, task.validation_loss)
    module.train()
    return value


def _diverged(epoch: int, loss: float, checkpoint: Checkpoint | None) -> str:
    state = checkpoint.load() if checkpoint else None  # of an earlier epoch than the last one, where not all are kept
    kept = ""
    if checkpoint and state:
        kept = f"; the state after epoch {len(state['history'])} is kept in {checkpoint.path}"
    advice = "A smaller learning_rate, or precision=fp32, usually helps"
    what = "weights were no longer finite" if math.isfinite(loss) else f"loss became {loss}"
    return f"training: the {what} in epoch {epoch + 1}{kept}. {advice}"
