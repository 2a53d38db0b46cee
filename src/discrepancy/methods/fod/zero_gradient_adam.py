"""Adam with the unintended behaviour of FOD's authors' program: every parameter takes a second step on a zero gradient.

Their program has one optimiser for all levels and, for each batch, trains level by level: clear all gradients, go
backward through one level, step. In PyTorch 1 a cleared gradient was a tensor of zeros, so every step moved the other
levels too, by their momentum. Under a steady gradient a parameter moves sqrt(levels) times as far per batch. Since
PyTorch 2 a cleared gradient is none, and the extra steps are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


class ZeroGradientAdam(torch.optim.Adam):
    """Adam with one step per level; the other levels step on zeros, once they have had a gradient at all.

    Args:
        levels: modules that are trained apart; a parameter belongs to one of them.
        options: Adam's.
    """

    def __init__(self, levels: Sequence[nn.Module], **options: Any) -> None:
        super().__init__([{"params": list(level.parameters())} for level in levels], **options)
        self._zeros: dict[nn.Parameter, torch.Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step per level, in their order, on the gradients of one backward pass."""
        del closure
        gradients = [[parameter.grad for parameter in group["params"]] for group in self.param_groups]
        for turn in range(len(self.param_groups)):
            for index, group in enumerate(self.param_groups):
                for parameter, gradient in zip(group["params"], gradients[index], strict=True):
                    parameter.grad = gradient if index == turn else self._zero(parameter)
            super().step()

    def _zero(self, parameter: nn.Parameter) -> torch.Tensor | None:
        """Return a cleared gradient as in PyTorch 1: zeros, or none before the first backward pass."""
        if parameter not in self.state:
            return None
        if parameter not in self._zeros:
            self._zeros[parameter] = torch.zeros_like(parameter)
        return self._zeros[parameter]
