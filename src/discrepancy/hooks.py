"""What happens around a run: parameters are checked before it, MLflow hears of it, the terminal sums it up."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, DataCatalog
from kedro.pipeline import Pipeline
from tqdm import tqdm

from discrepancy.errors import InputError
from discrepancy.parameters import Parameters, known, suggestion

logger = logging.getLogger(__name__)


SHARED = ("dataset", "data_root", "category", "image_size", "crop", "bit_depth")
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


class TrackingHooks:
    """Tells MLflow what the catalog marks with `metadata: {mlflow: {as: ...}}`, in the run that kedro-mlflow opened."""

    def __init__(self) -> None:
        self._marked: dict[str, dict[str, str]] = {}
        self._parameters: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the parameters."""
        self._parameters = context.config_loader["parameters"]

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Name and tag the run."""
        self._marked = {}
        for name in pipeline.datasets():
            metadata = getattr(catalog.get(name), "metadata", None) or {}
            if "mlflow" in metadata:
                self._marked[name] = metadata["mlflow"]
        run = _active_run()
        if run is None:
            _forget_run()
            return
        import mlflow

        methods = run_params["pipeline_names"] or ["dfc"]
        method = "+".join(methods)
        tags = {name: str(self._parameters.get(name, "")) for name in ("dataset", "category", "seed")}
        group = self._parameters.get(method, {})
        tags |= {"method": method, "backbone": str(group.get("backbone", "")) if isinstance(group, Mapping) else ""}
        tags |= {"kedro_run_id": str(run_params.get("run_id", "")), "mlflow.runName": f"{method}/{tags['category']}"}
        if parent := os.environ.get("MLFLOW_PARENT_RUN_ID"):
            tags["mlflow.parentRunId"] = parent
        mlflow.set_tags(tags)
        mlflow.log_params(_flat_parameters(pipeline, catalog))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Tag a run that starts in the middle, too, with the data of its detector."""
        if dataset_name.endswith(".card") and _active_run() is not None:
            _tag_card(data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log what is marked."""
        how = self._marked.get(dataset_name)
        if how is None or _active_run() is None:
            return
        _LOGGERS[how["as"]](data, how.get("file", dataset_name))


def _flat_parameters(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, Any]:
    """Every value of the pipeline's typed groups under its own name: kedro-mlflow flattens plain dicts only."""
    groups = {name: catalog.load(name) for name in sorted(pipeline.inputs()) if name.startswith("params:")}
    return {
        f"{name.removeprefix('params:')}.{key}": value
        for name, group in groups.items()
        if isinstance(group, Parameters)
        for key, value in group.model_dump(mode="json").items()
    }


def _log_metrics(data: Mapping[str, float | None], file: str) -> None:
    import mlflow

    mlflow.log_metrics({name: value for name, value in data.items() if value is not None})


def _log_history(data: pd.DataFrame, file: str) -> None:
    import mlflow
    from mlflow.entities import Metric

    stamp = pd.Timestamp.now().value // 10**6
    values = data.drop(columns="epoch").rename(columns={"seconds": "epoch_seconds"}).to_dict("list")
    metrics = [
        Metric(f"training/{name}", float(value), stamp, int(epoch))
        for name, column in values.items()
        for epoch, value in zip(data["epoch"], column, strict=True)
        if pd.notna(value)
    ]
    client = mlflow.MlflowClient()
    for start in range(0, len(metrics), 1000):  # the most that one call takes
        client.log_batch(_active_run().info.run_id, metrics[start : start + 1000])


def _log_table(data: pd.DataFrame, file: str) -> None:
    import mlflow

    mlflow.log_table(data, file)


def _log_figure(data: Any, file: str) -> None:
    import mlflow

    mlflow.log_figure(data, f"figures/{file}")


def _log_values(data: Mapping[str, Any], file: str) -> None:
    """Numbers that a step found out, under the name of what they belong to."""
    _log_metrics({f"{file}/{name}": value for name, value in data.items() if isinstance(value, int | float)}, file)


def _log_text(data: str, file: str) -> None:
    import mlflow

    mlflow.log_text(data, file)


def _log_detector(data: Any, file: str) -> None:
    """Weights and card as artifacts; the digest of the data as a tag."""
    import tempfile

    import mlflow

    from discrepancy.methods.detector import save_detector

    with tempfile.TemporaryDirectory() as folder:
        save_detector(data, Path(folder) / "detector")
        mlflow.log_artifacts(str(Path(folder) / "detector"), "detector")
    _tag_card(data.card)


def _tag_card(card: Mapping[str, Any]) -> None:
    import mlflow

    mlflow.set_tags({"data_digest": card["data_digest"], "backbone": card["backbone"]["backbone"]})


_LOGGERS = {
    "metrics": _log_metrics,
    "history": _log_history,
    "values": _log_values,
    "table": _log_table,
    "figure": _log_figure,
    "text": _log_text,
    "detector": _log_detector,
}


def _active_run() -> Any:
    """The run that kedro-mlflow opened; None when tracking is off."""
    import mlflow

    return mlflow.active_run()


def _forget_run() -> None:
    """Keep kedro-mlflow from opening this process's last run again, in the steps of a pipeline that is not tracked."""
    from kedro_mlflow.framework.hooks.mlflow_hook import mlflow_hook

    mlflow_hook.run_id = None


class SummaryHooks:
    """Ends a run with its short table and where to look next, and drops the checkpoints it no longer needs."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summaries of this run."""
        from discrepancy.datasets import CheckpointDataset  # imports PyTorch

        saved = pipeline.all_outputs()
        for name in sorted(pipeline.datasets()):
            method = name.partition(".")[0]
            if isinstance(checkpoint := catalog.get(name), CheckpointDataset) and f"{method}.detector" in saved:
                checkpoint.clear()  # what it guarded is saved
        for name in sorted(saved):
            if name.endswith(".summary"):
                tqdm.write(f"\n{catalog.load(name)}{_whereabouts(catalog, name.removesuffix('.summary'), saved)}")


_DETECTOR_PLACES = {
    "gallery": "gallery_figure",
    "correlations": "correlation_figure",
    "pictures": "segmentations",
    "maps": "original_maps",
    "table": "table",
    "detector": "detector",
}
_OTHER_PLACES = {"report": "page", "photographs": "contact_figure"}


def _whereabouts(catalog: DataCatalog, namespace: str, saved: set[str]) -> str:
    """Where to look next: what there is of a detector, made by this run or an earlier one; else what this run made."""
    if f"{namespace}.table" in saved:
        names = [(label, f"{namespace}.{name}") for label, name in _DETECTOR_PLACES.items()]
    else:
        names = [
            (label, f"{namespace}.{name}") for label, name in _OTHER_PLACES.items() if f"{namespace}.{name}" in saved
        ]
    datasets: list[tuple[str, Any]] = [(label, catalog.get(name)) for label, name in names]
    lines = [f"{label:<13}{os.path.relpath(_place(dataset))}" for label, dataset in datasets if dataset.exists()]
    if f"{namespace}.table" in saved:
        lines.append("compare      mlflow ui --backend-store-uri sqlite:///mlflow.db")
        lines.append(f"graph        kedro viz run --pipeline={namespace}")
    return "".join(f"{line}\n" for line in lines)


def _place(dataset: Any) -> Any:
    return dataset._get_load_path() if isinstance(dataset, AbstractVersionedDataset) else dataset.load()
