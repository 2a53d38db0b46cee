"""A whole run whose results lie behind an fsspec address: hooks, versions, and a later run that takes them up."""

import fsspec
import mlflow
import pytest
import yaml

from discrepancy.detection.storage import CARD, WEIGHTS
from tests.conftest import run_method

pytestmark = pytest.mark.sessions

DATASETS = {
    "detector": "DetectorDataset",
    "trained": "DetectorDataset",
    "history": "TableDataset",
    "metrics": "ValuesDataset",
    "card": "CardDataset",
    "summary": "TextDataset",
    "segmentations": "PicturesDataset",
    "gallery_figure": "FigureDataset",
}
MARKED = {"detector": "detector", "metrics": "metrics", "gallery_figure": "figure"}


@pytest.fixture
def in_store(project):
    """A project whose detector and report of DFC go to a store in memory."""
    entries = {
        f"dfc.{name}": {
            "type": f"discrepancy.datasets.{kind}",
            "filepath": f"memory:///results/dfc/{name}",
            "versioned": True,
            "metadata": {"mlflow": {"as": MARKED[name]}} if name in MARKED else {},
        }
        for name, kind in DATASETS.items()
    }
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/catalog.yml").write_text(yaml.safe_dump(entries))
    yield project
    fsspec.filesystem("memory").rm("/results", recursive=True)


def test_a_run_writes_there_and_the_next_takes_it_up(in_store, part, capsys):
    parameters = {"epochs": 1, "width": 8, "device": "cpu", "reporting": {"segmentations": True}}
    version = run_method("dfc", in_store, part, **parameters)
    files = fsspec.filesystem("memory")
    assert {path.split("/")[-1] for path in files.find(f"/results/dfc/detector/{version}/detector")} == {CARD, WEIGHTS}
    assert files.find(f"/results/dfc/segmentations/{version}/segmentations")
    assert files.isfile(f"/results/dfc/metrics/{version}/metrics") and not (in_store / "memory:").exists()
    assert not list(in_store.glob("data/08_reporting/folder/disc/dfc/metrics.json"))
    assert f"gallery      memory:///results/dfc/gallery_figure/{version}/gallery_figure" in capsys.readouterr().out
    client = mlflow.MlflowClient(f"sqlite:///{in_store / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("discrepancy").experiment_id])
    assert "figures" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    (model,) = run.outputs.model_outputs
    inside = {artifact.path for artifact in client.list_logged_model_artifacts(model.model_id, "artifacts/detector")}
    assert {path.split("/")[-1] for path in inside} == {CARD, WEIGHTS}
    later = run_method("dfc", in_store, part, stages=["scoring"], **parameters)
    assert files.isfile(f"/results/dfc/metrics/{later}/metrics")
