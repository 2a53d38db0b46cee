"""What the configuration files and `--params` together make of the parameters of a benchmark's runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_NOT_OF_RUNS: Final = ("category", "seed", "data_folder", "benchmark", "download", "accept_license")
"""Parameters that differ from trial to trial, or that no trial reads."""


def resolved(project: Path, env: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter that a benchmark's trials have in common, as the files give it now; not checked.

    Args:
        project: the project's folder, bootstrapped.
        env: Kedro's environment.
        params: `--params`, nested.
    """
    from kedro.framework.project import settings

    given = {**params, "category": "", "seed": 0}  # the same for all: some groups repeat them
    loader = settings.CONFIG_LOADER_CLASS(
        str(project / settings.CONF_SOURCE), env=env, runtime_params=given, **settings.CONFIG_LOADER_ARGS
    )
    found = loader["parameters"]
    return {name: value for name, value in found.items() if name not in _NOT_OF_RUNS and not name.startswith("_")}


def flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters by dotted name."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + str(name)] = value
    return found
