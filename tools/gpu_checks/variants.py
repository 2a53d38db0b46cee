"""What changes from outside bring: cuDNN's search for algorithms, other paddings and layouts, `torch.compile`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from discrepancy.devices import Precision
from discrepancy.features.reflection import ReflectedConv2d
from gpu_checks.cases import Case
from gpu_checks.measure import time_calls, training_step
from gpu_checks.options import Options
from gpu_checks.precision import precision
from gpu_checks.speed import speed_case


def variants(options: Options, found: dict[str, Any]) -> None:
    """DFC's step, changed in one thing at a time."""
    found["lines"] = []
    case = speed_case(options, "dfc")
    original = case.module
    for mode in ("tf32",) if options.tiny else options.precisions:
        for name, change in CHANGES.items():
            case.detector.estimator = copy.deepcopy(original)
            change(case.detector.estimator)
            with precision(mode) as autocast, _searching(name == "cudnn.benchmark"):
                step = training_step(case, case.optimiser(), case.batch(0), autocast)
                loss = float(step())
                times = time_calls(step, case.device, seconds=0.02 if options.tiny else 0.6)
            found["lines"].append(
                {"method": "dfc", "precision": mode, "variant": name, "ms": times["ms"], "loss": loss}
            )


def compiled(options: Options, found: dict[str, Any]) -> None:
    """Each method's loss under `torch.compile`: seconds to compile, milliseconds of a step, its loss beside eager's."""
    if options.device.type != "cuda":
        found["skipped"] = "compiled on a GPU only"
        return
    found["lines"] = []
    for method in options.methods:
        case = speed_case(options, method)
        plain = case.task.loss
        for mode in options.precisions:
            line: dict[str, Any] = {"method": method, "precision": mode}
            found["lines"].append(line)
            case.task.loss = plain
            try:
                line |= _compiled(case, mode)
            except TimeoutError:
                raise
            except Exception as error:  # what fails is what is wished to be known
                line["error"] = f"{type(error).__name__}: {str(error)[:600]}"


def _compiled(case: Case, mode: Precision) -> dict[str, Any]:
    torch._dynamo.reset()
    batch = case.batch(0)
    case.restart()
    case.module.train()
    with precision(mode) as autocast:
        eager = training_step(case, case.optimiser(), batch, autocast)
        expected = float(eager())
        eager_ms = time_calls(eager, case.device, seconds=0.5)["ms"]
        case.restart()
        case.task.loss = torch.compile(case.task.loss)
        step = training_step(case, case.optimiser(), batch, autocast)
        began = time.perf_counter()
        loss = float(step())
        seconds = time.perf_counter() - began
        ms = time_calls(step, case.device, seconds=0.7)["ms"]
    return {
        "compile_seconds": seconds,
        "eager_ms": eager_ms,
        "ms": ms,
        "speed_up": eager_ms / ms,
        "loss_deviation": abs(loss - expected) / abs(expected),
    }


@contextmanager
def _searching(wanted: bool) -> Iterator[None]:
    """Let cuDNN try its algorithms on the first call of each shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _nothing(module: nn.Module) -> None:
    del module


def _by_pytorch(module: nn.Module) -> None:
    """Reflection padding by PyTorch's own operation."""
    for part in module.modules():
        if isinstance(part, ReflectedConv2d):
            part.__class__ = nn.Conv2d


def _zero_padding(module: nn.Module) -> None:
    """Zeros beyond the border, which the convolution itself pads: another network, for its time alone."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.padding_mode = "zeros"


def _channels_first(module: nn.Module) -> None:
    module.to(memory_format=torch.contiguous_format)


class _MirroredConv2d(nn.Module):
    """A convolution with reflection padding by two gathers, which keep the layout."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.pad = [int(side) for side in convolution.padding]

    def forward(self, values: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C', h', w']."""
        for axis, pad in zip((2, 3), self.pad, strict=True):
            size = values.shape[axis]
            index = torch.arange(-pad, size + pad, device=values.device).abs()
            values = values.index_select(axis, torch.where(index < size, index, 2 * (size - 1) - index))
        layer = self.convolution
        return nn.functional.conv2d(values, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


def _replaced(kind: type[_MirroredConv2d]) -> Callable[[nn.Module], None]:
    """A change that puts a kind of convolution in place of those that pad by reflection."""

    def change(module: nn.Module) -> None:
        for name, part in list(module.named_modules()):
            if isinstance(part, nn.Conv2d) and part.padding_mode == "reflect" and not isinstance(part.padding, str):
                parent, _, own = name.rpartition(".")
                setattr(module.get_submodule(parent), own, kind(part))

    return change


CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "as it is": _nothing,
    "reflection by PyTorch": _by_pytorch,
    "reflection by index_select": _replaced(_MirroredConv2d),
    "zero padding": _zero_padding,
    "cudnn.benchmark": _nothing,
    "channels first": _channels_first,
}
