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


class _FoldedConv2d(_MirroredConv2d):
    """The same by copies of rows and columns, which keep the layout; the backward pass adds them in a fixed order."""

    def forward(self, values: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C', h', w']."""
        for axis, pad in zip((2, 3), self.pad, strict=True):
            values = _Reflection.apply(values, axis, pad) if pad else values
        layer = self.convolution
        return nn.functional.conv2d(values, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


class _OneCopyConv2d(_MirroredConv2d):
    """The same by one copy of the map and copies of its border."""

    def forward(self, values: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C', h', w']."""
        layer = self.convolution
        padded = _Framed.apply(values, *self.pad)
        return nn.functional.conv2d(padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


class _Framed(torch.autograd.Function):
    """Reflection padding of both axes: rows first, then columns of the rows padded by then; channels last."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: int, columns: int) -> Tensor:
        ctx.rows, ctx.columns = rows, columns
        count, channels, height, width = values.shape
        shape = (count, height + 2 * rows, width + 2 * columns, channels)
        padded = values.new_empty(shape).permute(0, 3, 1, 2)
        middle = padded.narrow(3, columns, width)
        middle.narrow(2, rows, height).copy_(values)
        for part, axis, pad in ((middle, 2, rows), (padded, 3, columns)):
            for border, inside in _mirrors(part, axis, pad):
                border.copy_(inside.flip(axis))
        return padded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), rows, columns = grads, ctx.rows, ctx.columns
        height = grad.shape[2] - 2 * rows
        result = _folded(grad.narrow(2, rows, height), columns)
        above, below = (_folded(grad.narrow(2, start, rows), columns) for start in (0, rows + height))
        result.narrow(2, 1, rows).add_(above.flip(2))
        result.narrow(2, height - 1 - rows, rows).add_(below.flip(2))
        return result, None, None


def _mirrors(values: Tensor, axis: int, pad: int) -> list[tuple[Tensor, Tensor]]:
    """Both borders of a padded axis, each with what it mirrors."""
    size = values.shape[axis] - 2 * pad
    return [
        (values.narrow(axis, 0, pad), values.narrow(axis, pad + 1, pad)),
        (values.narrow(axis, pad + size, pad), values.narrow(axis, size - 1, pad)),
    ]


def _folded(grad: Tensor, pad: int) -> Tensor:
    """The gradient without its padded columns, which are added to those that they mirror."""
    size = grad.shape[3] - 2 * pad
    result = grad.narrow(3, pad, size).clone(memory_format=torch.channels_last)
    result.narrow(3, 1, pad).add_(grad.narrow(3, 0, pad).flip(3))
    result.narrow(3, size - 1 - pad, pad).add_(grad.narrow(3, size + pad, pad).flip(3))
    return result


class _Reflection(torch.autograd.Function):
    """Reflection padding of one axis."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, axis: int, pad: int) -> Tensor:
        ctx.axis, ctx.pad = axis, pad
        size = values.shape[axis]
        before = values.narrow(axis, 1, pad).flip(axis)
        return torch.cat([before, values, values.narrow(axis, size - 1 - pad, pad).flip(axis)], axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), axis, pad = grads, ctx.axis, ctx.pad
        size = grad.shape[axis] - 2 * pad
        result = grad.narrow(axis, pad, size).clone(memory_format=torch.preserve_format)
        result.narrow(axis, 1, pad).add_(grad.narrow(axis, 0, pad).flip(axis))
        result.narrow(axis, size - 1 - pad, pad).add_(grad.narrow(axis, size + pad, pad).flip(axis))
        return result, None, None


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
    "reflection by index_select": _replaced(_MirroredConv2d),
    "reflection by copies": _replaced(_FoldedConv2d),
    "reflection by one copy": _replaced(_OneCopyConv2d),
    "zero padding": _zero_padding,
    "cudnn.benchmark": _nothing,
    "channels first": _channels_first,
}
