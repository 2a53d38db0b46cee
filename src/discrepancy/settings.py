"""Kedro's settings of this project."""

from kedro.config import OmegaConfigLoader

from discrepancy.console import quiet
from discrepancy.hooks import ParameterHooks, SummaryHooks, TrackingHooks

quiet()

HOOKS = (ParameterHooks(), TrackingHooks(), SummaryHooks())
CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**"]},
    "merge_strategy": {"parameters": "soft"},
}
