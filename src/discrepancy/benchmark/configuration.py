"""Parameters and result folders of a benchmark's runs, by the configuration files and `--params`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from discrepancy.errors import InputError

if TYPE_CHECKING:
    from kedro.io import DataCatalog

_NOT_OF_RUNS: Final = (
    "category", "seed", "data_folder", "benchmark", "download", "accept_license", "predict", "method", "input",
    "output", "detector", "scheduler", "register", "calibrate", "good", "defects", "cost_miss", "cost_alarm",
    "defect_share",
)  # fmt: skip
"""Parameters that differ from trial to trial, or that decide no result."""


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


def own_seeds(project: Path, env: str | None, params: Mapping[str, Any], methods: Iterable[str]) -> dict[str, int]:
    """Return the seed that the configuration gives each method, as a run without `--params=seed=...` takes it.

    Args:
        project: the project's folder, bootstrapped.
        env: Kedro's environment.
        params: `--params`, nested.
        methods: names of methods.

    Raises:
        InputError: a seed is no whole number.
    """
    loader = _loader(project, env, params)
    found = loader["parameters"]
    seeds = {}
    for method in methods:
        group = found.get(method, {})
        seed = group.get("seed", found["seed"])
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            name = f"{method}.seed" if "seed" in group else "seed"
            raise InputError(f"{loader.origin(name)}: {name} is {seed!r}; expected a whole number from 0 on")
        seeds[method] = seed
    return seeds


def check_seeds(
    project: Path, env: str | None, params: Mapping[str, Any], methods: Iterable[str], seeds: Iterable[int]
) -> None:
    """Refuse seeds that would not reach a method: its results would stand in the table under the wrong seed.

    Args:
        project: the project's folder, bootstrapped.
        env: Kedro's environment.
        params: `--params`, nested.
        methods: names of methods.
        seeds: those of the benchmark.

    Raises:
        InputError: `--params` or a file fixes the seed of a method.
    """
    for seed in list(dict.fromkeys(seeds))[:2]:  # a fixed seed differs from one of any two
        loader = _loader(project, env, {**params, "seed": seed})
        found = loader["parameters"]
        for method in methods:
            if (used := found.get(method, {}).get("seed", seed)) != seed:
                name = f"{method}.seed"
                raise InputError(
                    f"--seeds: {name} is {used!r} in {loader.origin(name)}, so {seed} would not be used; expected no "
                    "value there, or no --seeds"
                )


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
