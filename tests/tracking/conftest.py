"""A project with one registered PaDiM detector, and its run in MLflow."""

from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import make_project, run_method


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, part):
    """The project, its run and model, the folder of the detector; scores of test images by path, and their table."""
    project = make_project(tmp_path_factory.mktemp("tracked") / "project")
    version = run_method("padim", project, part, register=True, device="cpu", augmentation="none")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    (run,) = client.search_runs(["1"])
    (output,) = run.outputs.model_outputs
    outputs = project / "data/08_reporting/folder/disc/padim"
    scores = pd.read_csv(outputs / f"scores.csv/{version}/scores.csv")
    return SimpleNamespace(
        project=project,
        part=part,
        client=client,
        run=client.get_run(run.info.run_id),
        model=client.get_logged_model(output.model_id),
        folder=project / f"data/06_models/folder/disc/padim/detector/{version}/detector",
        scores=dict(zip(scores["image"], scores["score"], strict=True)),
        table=scores,
    )


@pytest.fixture(autouse=True)
def inside(tracked, monkeypatch):
    """The project is the current folder, in a process that knows nothing of MLflow yet."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    for name in ("MLFLOW_TRACKING_URI", "DISCREPANCY_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tracked.project)
