"""Kedro hooks that tell the report of a run where else to look: the detector's folder, and the run in MLflow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from discrepancy.tracking.address import database_uri

RUN_LINKS: Final = "run_links"
_REPORT: Final = ".report"
_LOCAL_SERVER: Final = "http://127.0.0.1:5000"
"""Where `mlflow ui` answers."""


class RunLinksHooks:
    """Hooks that fill the dataset `run_links`, which is empty in the catalog.

    It holds words by name, those that are known: `date`; `detector`, a folder, and `detector_link`, its address
    relative to the report; `mlflow`, the address of the run, and `mlflow_command`, which makes it answer.
    """

    def __init__(self) -> None:
        self._project = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder."""
        self._project = Path(context.project_path)

    @hook_impl(trylast=True)  # by then MLflow's run has begun, and the versions of this run are chosen
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Fill the dataset if a step of this run reads it."""
        reports = [name for name in pipeline.all_outputs() if name.endswith(_REPORT)]
        if RUN_LINKS not in pipeline.inputs() or not reports:
            return
        date = {"date": shown_date(run_params["run_id"])}
        detector = _detector_links(reports[0].removesuffix(_REPORT), pipeline, catalog)
        dataset: Any = catalog.get(RUN_LINKS)
        dataset.save(date | detector | _mlflow_links(self._project))


def shown_date(version: str) -> str:
    """Return a version of Kedro's, `2026-11-27T19.40.21.939Z`, as a reader writes it; other names as they are."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d)\.(\d\d)\..*Z", version)
    return f"{found[1]} {found[2]}:{found[3]} UTC" if found else version


def run_address(store: str, experiment: str, run: str) -> str:
    """Return the address of a run in MLflow's pages, without the password of a server.

    Args:
        store: address of the tracking server, or of a database; empty is returned for anything else.
        experiment: identifier of the experiment.
        run: identifier of the run.
    """
    parts = urlsplit(store)
    if parts.scheme in {"http", "https"}:
        host = parts.netloc.rpartition("@")[2]
        server = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    elif parts.scheme == "sqlite":
        server = _LOCAL_SERVER
    else:
        return ""
    return f"{server}/#/experiments/{experiment}/runs/{run}"


def _detector_links(namespace: str, pipeline: Pipeline, catalog: DataCatalog) -> dict[str, str]:
    """Return the folder of the detector: of this run, or of the earlier one whose card is used."""
    from discrepancy.datasets.own import OwnDataset  # imports PyTorch

    datasets = {name: catalog.get(f"{namespace}.{name}") for name in ("detector", "card", "report")}
    detector, card, report = datasets.values()
    if not (isinstance(detector, OwnDataset) and isinstance(card, OwnDataset) and isinstance(report, OwnDataset)):
        return {}
    made = f"{namespace}.detector" in pipeline.all_outputs()
    version = detector.resolve_save_version() if made else card.resolve_load_version()
    place, page = detector.address_of(version), report.address_of(report.resolve_save_version())
    if "://" in place or "://" in page:
        return {"detector": place}
    return {"detector": os.path.relpath(place), "detector_link": quote(os.path.relpath(place, Path(page).parent))}


def _mlflow_links(project: Path) -> dict[str, str]:
    """Return the address of the active run; nothing if this pipeline is not tracked."""
    import mlflow

    if (run := mlflow.active_run()) is None:
        return {}
    store = mlflow.get_tracking_uri()
    links = {"mlflow": run_address(store, run.info.experiment_id, run.info.run_id)}
    if store == database_uri(project):
        links["mlflow_command"] = "mlflow ui --backend-store-uri sqlite:///mlflow.db"
    return {name: words for name, words in links.items() if words}
