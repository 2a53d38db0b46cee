"""Kedro's settings of this project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from discrepancy.config_loader import CarefulConfigLoader
from discrepancy.console import quiet
from discrepancy.errors import InputError
from discrepancy.hooks import SummaryHooks, TrackingHooks
from discrepancy.parameter_hooks import Context, ParameterHooks
from discrepancy.place_hooks import PlaceHooks


class ConfigLoader(CarefulConfigLoader):
    """Knows two more resolvers.

    `${project:...}`: a path of the project, absolute, from whatever folder a session is started; and `one_of`.
    """

    def __init__(self, conf_source: str | Path, *args: Any, **options: Any) -> None:
        project = Path(conf_source).resolve().parent
        OmegaConf.clear_resolver("project")  # of another project in this process: Kedro keeps the first
        resolvers: dict[str, Callable[..., Any]] = {
            "project": lambda path: (project / path).as_posix(),
            "one_of": one_of,
        }
        super().__init__(conf_source, *args, custom_resolvers=resolvers, **options)


def one_of(name: str, value: str, *known: str) -> str:
    """`${one_of:NAME,VALUE,A,B}`: the value, if it is A or B.

    Raises:
        InputError: it is another one.
    """
    if value not in known:
        raise InputError(f"{name}: {value!r} is not known; expected {', '.join(known)}")
    return value


quiet()

HOOKS = (ParameterHooks(), PlaceHooks(), TrackingHooks(), SummaryHooks())
CONFIG_LOADER_CLASS = ConfigLoader
CONTEXT_CLASS = Context
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**"]},
    "merge_strategy": {"parameters": "soft"},
}
