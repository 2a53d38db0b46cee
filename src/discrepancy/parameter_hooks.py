"""Kedro hooks that check parameters when a session opens, before anything is read or written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.validation.exceptions import ParameterValidationError
from omegaconf import OmegaConf

from discrepancy.errors import InputError
from discrepancy.methods.registry import METHODS
from discrepancy.names import check_name, check_path
from discrepancy.parameters import known, suggestion

SHARED = (
    "dataset", "data_root", "data_folder", "category", "benchmark", "image_size", "crop", "bit_depth", "accept_license",
    "seed", "device", "precision", "deterministic", "backbone", "weights", "method", "input", "output", "detector",
    "scheduler", "register", "good", "defects", "cost_miss", "cost_alarm", "defect_share",
)  # fmt: skip
"""Parameters at the top, because more than one step, or the catalog's paths, use them."""
NOT_IN_GROUPS = ("dataset", "data_root", "category", "image_size", "crop", "bit_depth")
"""Those that `ingestion` and `download` have too, but that must not be set there."""


class Context(KedroContext):
    """Kedro's context; its errors of parameters name the file, or option, of a wrong value."""

    def _get_validated_params(self) -> dict[str, Any]:
        try:
            return super()._get_validated_params()
        except ParameterValidationError as error:
            lines = [line + self._origin(line) if line.startswith("- ") else line for line in str(error).splitlines()]
            raise ParameterValidationError("\n".join(lines)) from error

    def _origin(self, line: str) -> str:
        """Return ` (conf/local/parameters.yml)`, of a line such as `- Parameter '<method>': ...: 'epochs': ...`."""
        names = re.findall(r"'(\w+)'", re.sub(r"Failed to instantiate .*?: ", "", line))
        loader: Any = self.config_loader
        return f" ({loader.origin('.'.join(names[:2]))})" if names else ""


class ParameterHooks:
    """Hooks that refuse unused parameters, and names that no folder can have. Groups are checked by their models."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Compare the given names with those of the configuration files; check those that become folders."""
        loader: Any = context.config_loader
        given = loader.runtime_params or {}
        names = loader.names("parameters")
        if unknown := [name for name in given if name not in names]:
            raise InputError(f"--params: unknown {unknown[0]!r}{suggestion(unknown[0], names)}; {known(names)}")
        parameters = loader["parameters"]
        _check_groups(given, parameters)
        _check_files(loader)
        _check_folders(parameters, context.project_path)
        if not isinstance(register := parameters["register"], bool):
            raise InputError(f"register: {register!r} given; expected true or false")


def _check_groups(given: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for owner, name in product(("ingestion", "download"), NOT_IN_GROUPS):
        if isinstance(group := given.get(owner), dict) and name in group:
            raise InputError(f"--params: {owner}.{name} is not to be set by itself; expected {name}=...")
    for name in given:
        if isinstance(given[name], dict) and not isinstance(parameters[name], dict):
            raise InputError(f"--params: {name!r} is not a group, so {name}.{next(iter(given[name]))} means nothing")


def _check_files(loader: Any) -> None:
    """Refuse a shared value outside globals.yml: in a file of parameters, it would reach some steps only.

    Raises:
        InputError: a file of parameters sets it.
    """
    base, environment, *_ = loader._read_raw_config("parameters")
    for path, content in (base | environment).items():
        for name in SHARED:
            if name in content and not OmegaConf.is_interpolation(content, name):
                raise InputError(
                    f"{Path(path).parent.name}/{Path(path).name} sets {name}, which other steps and the catalog take "
                    f"from elsewhere; expected it in {Path(path).parent.name}/globals.yml"
                )


def _check_folders(parameters: Mapping[str, Any], project: Path) -> None:
    check_name("category", str(parameters["category"]))
    check_name("dataset", str(parameters["dataset"]))
    check_name("benchmark", str(parameters["benchmark"]))
    if (method := str(parameters["method"])) not in METHODS:
        raise InputError(f"method: {method!r} is not known; expected {', '.join(METHODS)}")
    check_path("data_folder", str(parameters["data_folder"]))
    check_path("the project's folder", str(project))
