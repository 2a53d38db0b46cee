"""What the configuration files and `--params` make of a benchmark's runs: parameters, and where their results lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kedro.io import DataCatalog

_NOT_OF_RUNS: Final = ("category", "seed", "data_folder", "benchmark", "download", "accept_license")
"""Parameters that differ from trial to trial, or that no trial reads."""


def resolved(project: Path, env: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter that a benchmark's trials have in common, as the files give it now; not checked.

    Args:
        project: the project's folder, bootstrapped.
        env: Kedro's environment.
        params: `--params`, nested.
    """
    given = {**params, "category": "", "seed": 0}  # the same for all: some groups repeat them
    found = _loader(project, env, given)["parameters"]
    return {name: value for name, value in found.items() if name not in _NOT_OF_RUNS and not name.startswith("_")}


def catalog_of(project: Path, env: str | None, params: Mapping[str, Any], **versions: Any) -> DataCatalog:
    """Return the catalog of a run, to find out where its results lie and to read them; no hook hears of it.

    Args:
        project: the project's folder, bootstrapped; relative paths of the catalog are those from there.
        env: Kedro's environment.
        params: of the run, nested.
        versions: `load_versions` and `save_version` of Kedro's catalog.
    """
    from kedro.config import MissingConfigException
    from kedro.io import DataCatalog

    loader = _loader(project, env, params)
    try:
        credentials = loader["credentials"]
    except MissingConfigException:
        credentials = {}
    return DataCatalog.from_config(loader["catalog"], credentials, **versions)


def relative(path: Path, project: Path) -> str:
    """Return a path as it is seen from the project's folder; one elsewhere as it is. POSIX."""
    return (path.relative_to(project) if path.is_relative_to(project) else path).as_posix()


def _loader(project: Path, env: str | None, params: Mapping[str, Any]) -> Any:
    from kedro.framework.project import settings

    conf = str(project / settings.CONF_SOURCE)
    return settings.CONFIG_LOADER_CLASS(conf, env=env, runtime_params=dict(params), **settings.CONFIG_LOADER_ARGS)


def flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters by dotted name."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + str(name)] = value
    return found
