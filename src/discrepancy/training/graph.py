"""A training step recorded once as a CUDA graph and replayed: one launch in place of thousands.

A small network leaves a GPU waiting for the host, which launches its operations one by one. A graph repeats recorded
operations on the same memory. So it needs batches of one shape, copied to one place, and a learning rate that is a
tensor. The numbers are those of the plain step, to the last bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLAIN_STEPS = 3
"""Steps before the recording: libraries start, and an optimiser makes its state."""


class StepResult(NamedTuple):
    """Result of a training step: the loss, and further metrics by name; scalars on the device, without gradients."""

    loss: Tensor
    metrics: Mapping[str, Tensor]


Step = Callable[[Mapping[str, Tensor]], StepResult]


class Recorder(Protocol):
    """Records the work that a call gives to the device."""

    def run(self, call: Callable[[], T]) -> T:
        """Run a call as it will be recorded."""

    def record(self, call: Callable[[], T]) -> Callable[[], T]:
        """Return what repeats a call's work without running it; the result lies in the same memory each time."""


class CUDARecorder:
    """Records on a stream of its own, as CUDA asks for.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def run(self, call: Callable[[], T]) -> T:
        """Run a call on this stream, after all before it and before all after it."""
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        try:
            with torch.cuda.stream(self.stream):
                return call()
        finally:
            main.wait_stream(self.stream)

    def record(self, call: Callable[[], T]) -> Callable[[], T]:
        """Record a call as a CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            result = call()

        def replay() -> T:
            graph.replay()
            return result

        return replay


class RecordedStep:
    """A training step that is recorded after a few plain ones, for batches of the first one's shape.

    Other batches, such as an epoch's last and smaller one, take the plain step. So do all if there is no memory to
    record it.

    Args:
        step: the plain step: no result may depend on the host.
        recorder: records it.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self.step = step
        self.recorder: Recorder | None = recorder
        self.batch: dict[str, Tensor] = {}
        self.plain = 0
        self.replay: Callable[[], StepResult] | None = None

    def __call__(self, batch: Mapping[str, Tensor]) -> StepResult:
        """Take a step; the result is overwritten by the next one."""
        if not self.batch:
            self.batch = {name: values.clone() for name, values in batch.items()}
        if self.recorder is None or not self._fits(batch):
            return self.step(batch)
        if self.plain < PLAIN_STEPS:
            self.plain += 1
            return self.recorder.run(lambda: self.step(batch))
        for name, values in batch.items():
            self.batch[name].copy_(values)
        if self.replay is None and not self._recorded(self.recorder):
            return self.step(batch)
        assert self.replay is not None
        return self.replay()

    def _fits(self, batch: Mapping[str, Tensor]) -> bool:
        return all(values.shape == self.batch[name].shape for name, values in batch.items())

    def _recorded(self, recorder: Recorder) -> bool:
        try:
            self.replay = recorder.record(lambda: self.step(self.batch))
        except RuntimeError as error:
            # If memory runs out, ending the recording may raise an error of its own on the way.
            if not any(isinstance(cause, torch.OutOfMemoryError) for cause in (error, error.__context__)):
                raise
            logger.info("training: no memory is left to record the step; it goes on step by step")
            self.recorder = None
        return self.recorder is not None


def use_rate_tensors(optimiser: torch.optim.Optimizer, device: torch.device) -> None:
    """Have Adam on a GPU read its learning rates from the device; with other optimisers and on a CPU do nothing."""
    if device.type != "cuda" or not isinstance(optimiser, torch.optim.Adam):
        return
    for group in optimiser.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters; that in a tensor in its place, where a recorded step reads it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
