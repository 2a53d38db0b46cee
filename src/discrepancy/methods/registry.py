"""The methods by name: those of this package, and those that other installed packages add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from discrepancy.errors import InputError

if TYPE_CHECKING:
    from discrepancy.methods.base import Method

GROUP = "discrepancy.methods"
"""Entry point group by which other packages add methods: `name = "package.module:Class"`."""

BUILT_IN = {
    "dfc": "discrepancy.methods.dfc.model:DFC",
    "dfr": "discrepancy.methods.dfr.model:DFR",
    "fod": "discrepancy.methods.fod.model:FOD",
    "padim": "discrepancy.methods.padim.model:PaDiM",
    "patchcore": "discrepancy.methods.patchcore.model:PatchCore",
    "committee": "discrepancy.methods.committee.model:Committee",
}

DEFAULT = "dfc"
"""The method of a run that names none."""


class Registry(Mapping[str, "type[Method]"]):
    """Method classes by name. Names cost nothing; a class, and PyTorch, is imported on access."""

    @cached_property
    def _places(self) -> dict[str, EntryPoint]:
        found = {name: EntryPoint(name, place, GROUP) for name, place in BUILT_IN.items()}
        for entry in entry_points(group=GROUP):
            if entry.name in found and entry.value != found[entry.name].value:
                raise InputError(
                    f"two methods are called {entry.name!r}: {found[entry.name].value} and {entry.value}; expected "
                    "different names in the packages' entry points"
                )
            found[entry.name] = entry
        return found

    def __getitem__(self, name: str) -> type[Method]:
        from discrepancy.methods.base import Method

        method = self._places[name].load()
        if not (isinstance(method, type) and issubclass(method, Method)) or method.name != name:
            raise InputError(f"{self._places[name].value}: expected a subclass of Method whose name is {name!r}")
        return method

    def package(self, name: str) -> str | None:
        """Return the distribution that adds a method, such as `my-methods`; None for those of this package."""
        distribution = self._places[name].dist
        return None if distribution is None else distribution.name

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


METHODS = Registry()
"""All methods, those of this package first."""
