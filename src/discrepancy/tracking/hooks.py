"""Kedro hooks that record every run in MLflow: parameters, marked outputs, and the final state."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from discrepancy.errors import InputError
from discrepancy.locks import file_lock
from discrepancy.methods.registry import DEFAULT, METHODS
from discrepancy.parameters import Parameters
from discrepancy.tracking.address import configured, move_artifacts, note_export, use_project
from discrepancy.tracking.git_commit import commit_tags
from discrepancy.tracking.live import LiveRun, end_killed
from discrepancy.tracking.loggers import LOGGERS, log_data, log_detector, log_figure, tag_card
from discrepancy.tracking.record import RunRecord
from discrepancy.tracking.run_list import offer_view

DATABASE = "mlflow.db"


class TrackingHooks:
    """Hooks that begin kedro-mlflow's MLflow run and log datasets marked `metadata: {mlflow: {as: ...}}`."""

    def __init__(self) -> None:
        self._context: KedroContext
        self._catalog: Any = None
        self._marked: dict[str, dict[str, str]] = {}
        self._parameters: dict[str, Any] = {}
        self._run: LiveRun | None = None
        self._record: RunRecord | None = None
        self._saved = False

    @hook_impl(wrapper=True)
    def after_context_created(self, context: KedroContext) -> Generator[None]:
        """Set the location of MLflow's files before kedro-mlflow asks; then end the runs that were killed."""
        self._interrupted()
        self._context = context
        project = Path(context.project_path)
        of_user = use_project(context)
        name, location = configured(context.config_loader["mlflow"])
        # Two processes that make the database, or the experiment, at once would get in each other's way.
        with file_lock(project / f".{DATABASE}.lock"):
            if location == (project / "mlartifacts").as_uri():
                move_artifacts(project / DATABASE, name, location)
            yield
        note_export(of_user=of_user)
        end_killed(project)
        self._parameters = context.config_loader["parameters"]

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Begin the run, named and tagged, for kedro-mlflow to continue.

        Raises:
            InputError: two methods at once.
        """
        self._marked, self._run, self._record, self._saved = {}, None, None, False
        self._catalog = catalog
        asked = run_params["pipeline_names"] or ["__default__"]
        names = [DEFAULT if name == "__default__" else name for name in asked]
        _one_method(names)
        for name in pipeline.datasets():
            metadata = getattr(catalog.get(name), "metadata", None) or {}
            if "mlflow" in metadata:
                self._marked[name] = metadata["mlflow"]
        configuration = getattr(self._context, "mlflow", None)
        if configuration is None or set(names) <= set(configuration.tracking.disable_tracking.pipelines):
            _forget_run()
            return
        self._record = self._begin("+".join(names), str(run_params["run_id"]), configuration)
        self._log_parameters(self._record, pipeline, catalog)

    def _begin(self, method: str, version: str, configuration: Any) -> RunRecord:
        import mlflow

        client = mlflow.MlflowClient(configuration.server.mlflow_tracking_uri)
        tags = self._tags(method, version)
        given = mlflow.active_run()  # belongs to the code that started this process
        run_id = given.info.run_id if given else configuration.tracking.run.id
        if run_id is None:
            experiment = configuration.tracking.experiment._experiment
            offer_view(client, experiment)
            run = configuration.tracking.run
            run.name = run.name or tags["mlflow.runName"]
            project = Path(self._context.project_path)
            self._run = LiveRun(project, client, experiment.experiment_id, tags | {"mlflow.runName": run.name})
            run_id = run.id = self._run.run_id
        return RunRecord(client, run_id)

    def _tags(self, method: str, version: str) -> dict[str, str]:
        tags = {name: str(self._parameters.get(name, "")) for name in ("dataset", "category", "seed")}
        group = self._parameters.get(method, {})
        group = group if isinstance(group, Mapping) else {}
        tags |= {"method": method, "backbone": str(group.get("backbone", ""))}
        tags |= {"seed": str(group["seed"])} if "seed" in group else {}  # a method may have a seed of its own
        tags |= {"kedro_run_id": version, "mlflow.runName": f"{method}/{tags['category']}"}
        tags |= commit_tags(Path(self._context.project_path))
        if parent := os.environ.get("MLFLOW_PARENT_RUN_ID"):
            tags["mlflow.parentRunId"] = parent
        return tags

    def _log_parameters(self, record: RunRecord, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log every value of the typed groups under its own name: kedro-mlflow flattens plain dicts only."""
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

        groups = {name: catalog.load(name) for name in sorted(pipeline.inputs()) if name.startswith("params:")}
        values = [
            Param(f"{name.removeprefix('params:')}.{key}", str(value)[:MAX_PARAM_VAL_LENGTH])
            for name, group in groups.items()
            if isinstance(group, Parameters)
            for key, value in group.model_dump(mode="json").items()
        ]
        for start in range(0, len(values), 100):  # the most that one call takes
            record.client.log_batch(record.run_id, params=values[start : start + 100])

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Log the data, and tag a run that starts in the middle with what its detector was trained with."""
        if self._record is None:
            return
        if dataset_name.endswith(".card"):
            tag_card(self._record, data)
        elif self._marked.get(dataset_name, {}).get("as") == "data":
            self._log_data(self._record, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log a marked dataset, by the run's id, as steps may be in threads of their own."""
        self._saved = True
        if self._record is None or (how := self._marked.get(dataset_name)) is None:
            return
        dataset = self._catalog.get(dataset_name)
        if how["as"] == "figure":
            with dataset.local_copy() as path:
                log_figure(self._record, path)
        elif how["as"] == "detector":
            with dataset.local_copy() as folder:
                log_detector(self._record, folder, data)
        elif how["as"] == "data":
            self._log_data(self._record, data)
        else:
            LOGGERS[how["as"]](self._record, data, how.get("file", dataset_name))

    def _log_data(self, record: RunRecord, samples: Any) -> None:
        if record.test_data is None:
            name = f"{self._parameters.get('dataset', '')}/{self._parameters.get('category', '')}"
            log_data(record, samples, name=name, folder=str(self._parameters.get("data_root", "")))

    @hook_impl
    def after_node_run(self) -> None:
        """End the run if Ctrl+C or SIGTERM came in the step and was swallowed there."""
        if self._run is not None:
            self._run.raise_if_interrupted()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Keep the run, which kedro-mlflow has ended, if it has done anything; register its model if asked to."""
        if self._record is not None:
            if self._run is not None and not self._saved:
                self._record.client.delete_run(self._record.run_id)
            elif self._record.model_id is not None and self._parameters.get("register"):
                from discrepancy.tracking.models import register_model

                register_model(self._record.client, self._record.model_id)
        self._end()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Keep the run, which kedro-mlflow has ended as FAILED; one that was interrupted was killed.

        Raises:
            KeyboardInterrupt: the error comes from Ctrl+C.
            SystemExit: the error comes from SIGTERM.
        """
        if self._run is not None:
            self._run.raise_if_interrupted()
        self._end()

    def _end(self) -> None:
        if self._run is not None:
            self._run.end()
        self._run = self._record = None

    def _interrupted(self) -> None:
        """End a run of this process that was interrupted, as by Ctrl+C in a notebook."""
        if self._run is not None:
            self._run.kill()
        self._run = self._record = None


def _one_method(names: list[str]) -> None:
    methods = sorted(set(names) & set(METHODS))
    if len(methods) > 1:
        raise InputError(
            f"--pipelines: {', '.join(methods)} in one run, whose results would have the same names; expected one "
            "method for each command, or kedro benchmark for several"
        )


def _forget_run() -> None:
    """Prevent kedro-mlflow from reopening this process's last run in the steps of a pipeline that is not tracked."""
    from kedro_mlflow.framework.hooks.mlflow_hook import mlflow_hook

    mlflow_hook.run_id = None
