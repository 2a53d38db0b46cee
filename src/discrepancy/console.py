"""A console without messages of other packages. Kedro calls `quiet` first of all (entry point `kedro.init`)."""

from __future__ import annotations

import os
import warnings
from typing import Any

_NOISE = (
    "Add type hints to the `predict` method",  # MLflow, of a class of kedro-mlflow's, on import
    "Option '--pipeline' is deprecated",  # Kedro, of the option that people type; both spellings work here
    "One or more dataset names contain '.'",  # Kedro, of a method's datasets inside a stage: <method>.maps
    "ORJSONResponse is deprecated",  # FastAPI, of kedro-viz; its server is a process of its own, see below
    "IProgress not found",  # tqdm, in a notebook without widgets
)
_OF_SERVER = "ignore:ORJSONResponse is deprecated"


_done = False


def quiet() -> None:
    """Silence messages on which no user of this project can act; telemetry is off unless enabled.

    The warnings are dropped where they are shown, not by a filter: MLflow puts a filter of its own in front.
    """
    os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    if _OF_SERVER not in (given := os.environ.get("PYTHONWARNINGS", "")):
        os.environ["PYTHONWARNINGS"] = f"{given},{_OF_SERVER}".strip(",")
    global _done  # noqa: PLW0603 (once per process is enough, whoever calls first)
    if _done:
        return
    _done = True
    shown = warnings.showwarning

    def show(message: Warning | str, *args: Any, **options: Any) -> None:
        if not any(noise in str(message) for noise in _NOISE):
            shown(message, *args, **options)

    warnings.showwarning = show
