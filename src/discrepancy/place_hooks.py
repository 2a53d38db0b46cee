"""Before a run: what it needs is there, and what it makes can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, CachedDataset, CatalogProtocol, MemoryDataset
from kedro.pipeline import Pipeline

from discrepancy.errors import InputError
from discrepancy.places import check_database, check_file, check_folders

_SQLITE: Final = "sqlite:///"


class PlaceHooks:
    """Refuses a run that could not end: its input is not there, or its results could not be written."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Look at MLflow's data base before MLflow does, which makes one, and logs much where it cannot."""
        server = context.config_loader["mlflow"].get("server") or {}
        if (file := _database(server.get("mlflow_tracking_uri") or "")) is not None:
            check_database(file)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Look at the inputs that other steps make, and at every folder; before MLflow opens a run."""
        _check_versions(run_params.get("load_versions") or {}, pipeline, catalog)
        _check_inputs(run_params.get("pipeline_names") or ["__default__"], pipeline, catalog)
        check_folders(_folders(pipeline, catalog))
        _check_tracking(run_params.get("pipeline_names") or ["__default__"])


def _check_inputs(names: list[str], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raises `InputError`: an earlier step's output is not kept, or not there; the message names that step."""
    whole = sum((pipelines[name] for name in names), Pipeline([]))
    if not (missing := _missing(pipeline, whole, catalog)):
        return
    kept = [name for name in missing if isinstance(catalog.get(name), MemoryDataset)]
    found = f"{kept[0]} is not kept on disk" if kept else f"{missing[0]} is not there"
    raise InputError(f"{found}; expected a run from an earlier step: --from-nodes={_start(missing, whole, catalog)}")


def _missing(pipeline: Pipeline, whole: Pipeline, catalog: CatalogProtocol) -> list[str]:
    """What a pipeline needs of the steps before it, and no earlier run has left."""
    return sorted(name for name in pipeline.inputs() & whole.all_outputs() if not catalog.exists(name))


def _start(missing: list[str], whole: Pipeline, catalog: CatalogProtocol) -> str:
    """The latest steps from which all is there that is needed."""
    makers = {output: node.name for node in whole.nodes for output in node.outputs}
    steps: set[str] = set()
    while missing:
        steps |= {makers[name] for name in missing}
        missing = _missing(whole.from_nodes(*steps), whole, catalog)
    return ",".join(sorted(step for step in steps if not _follows(step, steps - {step}, whole)))


def _follows(step: str, others: set[str], whole: Pipeline) -> bool:
    return bool(others) and step in {node.name for node in whole.from_nodes(*others).nodes}


def _check_versions(versions: Mapping[str, str], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raises `InputError`: a data set has no such version, or none at all, or this run makes it itself."""
    for name, version in versions.items():
        dataset: Any = catalog.get(name)
        if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
            raise InputError(f"--load-versions: {name} has no versions; expected data sets that have")
        if name in pipeline.all_outputs():
            raise InputError(
                f"--load-versions: this run makes {name} itself; expected a run that begins after that step, or no "
                "version of it"
            )
        there = sorted((path.name for path in Path(dataset._filepath).glob("*")), reverse=True)
        if version not in there:
            shown = f"the latest there are {', '.join(there[:3])}" if there else "there are none"
            raise InputError(f"--load-versions: {name} has no version {version!r}; {shown}")


def _folders(pipeline: Pipeline, catalog: CatalogProtocol) -> Iterator[Path]:
    """Where the outputs of a pipeline, and what training keeps on the way, will lie."""
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
    """Raises `InputError`: MLflow's data base or the folder of its files cannot be written, and the run is tracked."""
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
    """The file of an address `sqlite:///...`; None for any other."""
    if not address.startswith(_SQLITE):
        return None
    return Path(unquote(address.removeprefix(_SQLITE).partition("?")[0]))
