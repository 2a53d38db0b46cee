"""Parameters are checked when a session opens."""

from __future__ import annotations

from itertools import product

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from discrepancy.errors import InputError
from discrepancy.parameters import known, suggestion

SHARED = ("dataset", "data_root", "category", "image_size", "crop")
"""Parameters that stand at the top, because more than one step, or the catalog's paths, are made of them."""


class ParameterHooks:
    """Refuses `--params` that no one reads. Inside the groups, the typed models do so."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Compare the names given with those of the configuration files."""
        given = context._runtime_params or {}
        loader = context.config_loader
        saved, loader.runtime_params = loader.runtime_params, {}
        try:
            names = [name for name in loader["parameters"] if not name.startswith("_")]
        finally:
            loader.runtime_params = saved
        if unknown := [name for name in given if name not in names]:
            raise InputError(f"--params: unknown {unknown[0]!r}{suggestion(unknown[0], names)}; {known(names)}")
        for owner, name in product(("ingestion", "download"), SHARED):
            if isinstance(group := given.get(owner), dict) and name in group:
                raise InputError(f"--params: {owner}.{name} is not to be set by itself; expected {name}=...")
        for name in given:
            if isinstance(given[name], dict) and not isinstance(loader["parameters"][name], dict):
                raise InputError(
                    f"--params: {name!r} is not a group, so {name}.{next(iter(given[name]))} means nothing"
                )
