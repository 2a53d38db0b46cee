"""A network as a chain of named steps: run in order, keep some of the outputs, cut after the last of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn


class Chain(nn.Module):
    """Named modules, run one after another; `forward` returns the outputs of the steps in `keep`.

    Steps after the last kept one are dropped, parameters and all. A name may hold dots (`blocks.2`): the module is
    registered under that path, so that the state dict has the names of the network which the steps were taken from.

    Args:
        steps: the modules by name, in the order in which they run.
        keep: names of the steps whose outputs are kept, at least one; returned in the order of the chain.

    Raises:
        KeyError: `keep` names a step that does not exist.
    """

    def __init__(self, steps: Iterable[tuple[str, nn.Module]], keep: Sequence[str]) -> None:
        super().__init__()
        modules = dict(steps)
        unknown = [name for name in keep if name not in modules]
        if unknown or not keep:
            raise KeyError(f"steps to keep: {unknown or 'none given'}; the chain has {', '.join(modules)}")
        names = list(modules)
        last = max(names.index(name) for name in keep)
        self.steps = tuple(names[: last + 1])
        self.keep = tuple(name for name in self.steps if name in keep)
        for name in self.steps:
            self._register(name, modules[name])

    def _register(self, name: str, module: nn.Module) -> None:
        owner: nn.Module = self
        *path, leaf = name.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.add_module(leaf, module)

    def insert_after(self, step: str, name: str, module: nn.Module) -> None:
        """Insert `module` after `step`; the kept outputs and the other names in the state dict do not change.

        Raises:
            KeyError: the chain has no such step (it may have been cut before it), or already has that name.
        """
        if step not in self.steps or name in self.steps:
            raise KeyError(f"cannot insert {name!r} after {step!r} into the chain {', '.join(self.steps)}")
        self._register(name, module)
        place = self.steps.index(step) + 1
        self.steps = (*self.steps[:place], name, *self.steps[place:])

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Run the chain on `inputs` [N, C, H, W]; return the kept outputs [N, C', h, w] by name, in order."""
        kept = {}
        value = inputs
        for name in self.steps:
            value = self.get_submodule(name)(value)
            if name in self.keep:
                kept[name] = value
        return kept
