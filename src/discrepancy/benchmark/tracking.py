"""MLflow's run of a whole benchmark: parent of every trial's run, with the tables and a metric for each category."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from discrepancy.tracking.live import LiveRun

_RUNNING: Final = "RUNNING"
_TABLES: Final = "mlflow.loggedArtifacts"
"""By this tag MLflow knows which artifacts are tables."""
_HEADLINE: Final = ("image_auroc", "pixel_auroc", "aupro_0.30")


class ParentRun:
    """The run under which MLflow's UI shows all trials; one for a benchmark, however often it is started again.

    Args:
        project: the project's folder.
        env: Kedro's environment.
        name: the benchmark's.
        run_id: of an earlier start; a new run is opened where MLflow does not know it.
        tags: of a new run.
    """

    def __init__(self, project: Path, env: str | None, name: str, run_id: str | None, tags: Mapping[str, str]) -> None:
        self._client, experiment = connect(project, env)
        shown = {"mlflow.runName": f"benchmark {name}", "benchmark": name, **tags}
        known = run_id if run_id and self._known(run_id) else None
        self._live = LiveRun(project, self._client, experiment, shown, run_id=known)
        self.run_id = self._live.run_id
        self._experiment = experiment
        self.sweep()

    def _known(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def sweep(self) -> int:
        """End the runs of trials that were killed; return how many there were.

        Nobody else would end them, and MLflow would show them running for ever.
        """
        where = f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.status = '{_RUNNING}'"
        stale = self._client.search_runs([self._experiment], where, max_results=1000)
        for run in stale:
            self._client.set_terminated(run.info.run_id, status="KILLED")
        return len(stale)

    def log(self, results: pd.DataFrame, tables: Mapping[str, pd.DataFrame], folders: Mapping[str, Path]) -> None:
        """Log metrics per category, tables and files, in place of those of an earlier start.

        Args:
            results: one row per trial.
            tables: by the name of the artifact, `summary.json`.
            folders: further artifacts, by the folder to put them into.
        """
        for name, value in headline(results).items():
            self._client.log_metric(self.run_id, name, value)
        shown = {name: table for name, table in tables.items() if len(table)}
        for name, table in shown.items():
            self._client.log_dict(self.run_id, _split(table), name)  # `log_table` would add to the rows that are there
        self._client.set_tag(self.run_id, _TABLES, json.dumps([{"path": name, "type": "table"} for name in shown]))
        for name, folder in folders.items():
            self._client.log_artifacts(self.run_id, str(folder), name)

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """End the run; trials that are still marked as running were killed."""
        self.sweep()
        self._client.set_terminated(self.run_id, status=status)
        self._live.end()


def headline(results: pd.DataFrame) -> dict[str, float]:
    """Return means over seeds: `image_auroc/<category>` and its like, `.../<category>/<method>` with several methods.

    So MLflow's compare view draws one line per benchmark through its categories.
    """
    done = results[results["state"] == "done"]
    several = done["method"].nunique() > 1
    found = {}
    for (category, method), group in done.groupby(["category", "method"]):
        for metric in _HEADLINE:
            if metric in group and group[metric].notna().any():
                name = f"{metric}/{category}/{method}" if several else f"{metric}/{category}"
                found[re.sub(r"[^\w\-. :/]", "_", name)] = float(group[metric].mean())
    return found


def _split(table: pd.DataFrame) -> dict[str, Any]:
    """The form in which MLflow's UI shows a table."""
    data = table.astype(object).where(table.notna(), None)
    return {"columns": list(data.columns), "data": data.to_numpy().tolist()}


def connect(project: Path, env: str | None) -> tuple[Any, str]:
    """Return MLflow's client and the experiment's id, as kedro-mlflow sets them up for every run of the project.

    Makes the database if it is not there: several processes that did so at once would get in each other's way.
    """
    import mlflow
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    session: Any = KedroSession.create(project_path=project, env=env)
    with session:
        name = session.load_context().mlflow.tracking.experiment.name
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None  # loading the context made it
    return client, str(experiment.experiment_id)
