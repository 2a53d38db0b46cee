"""Kedro's settings of this project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from discrepancy.config_loader import CarefulConfigLoader
from discrepancy.console import quiet
from discrepancy.lineage_hooks import LineageHooks
from discrepancy.parameter_hooks import Context, ParameterHooks
from discrepancy.place_hooks import PlaceHooks
from discrepancy.resolvers import RESOLVERS
from discrepancy.run_links import RunLinksHooks
from discrepancy.summary import SummaryHooks
from discrepancy.tracking.hooks import TrackingHooks


class ConfigLoader(CarefulConfigLoader):
    """Configuration loader with the project's resolvers. Tracking hooks add those of the project's folder."""

    def __init__(self, conf_source: str | Path, *args: Any, **options: Any) -> None:
        super().__init__(
            conf_source,
            *args,
            custom_resolvers=RESOLVERS,
            **options,
        )


quiet()

HOOKS = (ParameterHooks(), TrackingHooks(), RunLinksHooks(), SummaryHooks(), PlaceHooks(), LineageHooks())
"""Kedro calls the later of two hooks with `tryfirst` first: unusable inputs are refused before MLflow begins a run."""

CONFIG_LOADER_CLASS = ConfigLoader
CONTEXT_CLASS = Context
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**"]},
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}
