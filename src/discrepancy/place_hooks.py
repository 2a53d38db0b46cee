"""Kedro hooks that check, before a run, that its outputs can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CachedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from discrepancy.places import check_database, check_file, check_folders

_SQLITE: Final = "sqlite:///"


class PlaceHooks:
    """Hooks that refuse a run whose results could not be written."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Check MLflow's database before MLflow does, which creates one, and logs much if it cannot."""
        server = context.config_loader["mlflow"].get("server") or {}
        if (file := _database(server.get("mlflow_tracking_uri") or "")) is not None:
            check_database(file)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Check every output folder before MLflow opens a run: can it be written, and does its dataset accept it?"""
        check_folders(_folders(pipeline, catalog))
        for name in sorted(pipeline.all_outputs()):
            if check := getattr(catalog.get(name), "check_place", None):
                check()
        _check_tracking(run_params.get("pipeline_names") or ["__default__"])


def _folders(pipeline: Pipeline, catalog: CatalogProtocol) -> Iterator[Path]:
    """Yield the folders of a pipeline's outputs and of the training's checkpoints."""
    for name in sorted(pipeline.all_outputs()) + [name for name in pipeline.inputs() if name.endswith("checkpoint")]:
        dataset: Any = catalog.get(name)
        if isinstance(dataset, CachedDataset):
            dataset = dataset._dataset
        if getattr(dataset, "_protocol", "file") != "file":
            continue
        if (path := getattr(dataset, "_filepath", None)) is not None:
            versioned = getattr(dataset, "_version", None) is not None
            yield Path(path) if versioned else Path(path).parent
        for attribute in ("_path", "_cache"):
            if isinstance(folder := getattr(dataset, attribute, None), Path):
                yield folder


def _check_tracking(names: list[str]) -> None:
    """Check that a tracked run can write MLflow's database and the folder of its files.

    Raises `InputError` if it cannot.
    """
    import mlflow
    from kedro_mlflow.framework.hooks.mlflow_hook import mlflow_hook

    tracking = mlflow_hook.mlflow_config.tracking
    if all(name in tracking.disable_tracking.pipelines for name in names):
        return
    if (file := _database(mlflow.get_tracking_uri())) is not None:
        check_file(file)
    files = urlsplit(tracking.experiment._experiment.artifact_location)
    if files.scheme in {"", "file"}:
        check_folders([Path(unquote(files.path))])


def _database(address: str) -> Path | None:
    """Return the file of an address `sqlite:///...`; None for any other."""
    if not address.startswith(_SQLITE):
        return None
    return Path(unquote(address.removeprefix(_SQLITE).partition("?")[0]))
