"""A run in MLflow says which data it saw, on which machine, by which code; the list of runs has fitting columns."""

import json
import shutil
import subprocess
import uuid
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from discrepancy.tracking import loggers
from discrepancy.tracking.git_commit import commit_tags
from discrepancy.tracking.hooks import TrackingHooks
from discrepancy.tracking.record import RunRecord
from discrepancy.tracking.run_list import VIEW
from tests.conftest import empty_database


def test_the_data_column_names_training_and_test_data(tracked):
    seen = {each.tags[0].value: each.dataset for each in tracked.run.inputs.dataset_inputs}
    assert set(seen) == {"train", "test"} and {data.name for data in seen.values()} == {"folder/disc"}
    profile = {context: json.loads(data.profile) for context, data in seen.items()}
    assert profile["train"] == {"num_rows": 10, "train": 5, "validation": 5, "anomalous": 0}
    assert profile["test"] == {"num_rows": 6, "test": 6, "anomalous": 3}
    assert seen["train"].digest != seen["test"].digest
    (metric,) = [metric for metric in tracked.model.metrics if metric.key == "image_auroc"]
    assert metric.dataset_digest == seen["test"].digest


def test_two_runs_may_log_the_same_data_at_the_same_moment(tmp_path, monkeypatch):
    """MLflow looks whether the data are known, and then adds them; here another run adds them in between."""
    from mlflow.store.tracking import sqlalchemy_store

    shutil.copy(empty_database(), tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    first, second = (RunRecord(client, client.create_run("1").info.run_id) for _ in range(2))
    samples = pd.DataFrame({"split": ["train", "test"], "label": 0, "sha256": ["a", "b"], "image": ["a", "b"]})
    waiting = [second]

    def uuid4():  # of data that are not known
        if waiting:
            loggers.log_data(waiting.pop(), samples, name="folder/disc", folder="/photos")
        return uuid.uuid4()

    monkeypatch.setattr(sqlalchemy_store, "uuid", SimpleNamespace(uuid4=uuid4))
    loggers.log_data(first, samples, name="folder/disc", folder="/photos")
    seen = [
        {(each.dataset.digest, each.tags[0].value) for each in client.get_run(run.run_id).inputs.dataset_inputs}
        for run in (first, second)
    ]
    assert not waiting and len(seen[0]) == 2 and seen[0] == seen[1]


def test_a_digest_changes_with_an_image(tracked):
    from discrepancy.data.samples import data_digest

    samples = pd.read_csv(tracked.project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    test = samples[samples["split"] == "test"]
    (logged,) = [each.dataset for each in tracked.run.inputs.dataset_inputs if each.tags[0].value == "test"]
    assert logged.digest == data_digest(test)[:12] != data_digest(test.assign(sha256="0"))[:12]


def test_tags_say_where_and_with_what(tracked):
    from discrepancy.methods import base

    tags = tracked.run.data.tags
    assert tags["device"] == "cpu" and "gpu" not in tags and tags["precision"] == "fp32"
    assert tags["version.torch"] == base.version("torch")
    assert tags["version.discrepancy"] == base.version("discrepancy")
    assert "mlflow.source.git.commit" not in tags  # this project is no checkout


def test_a_checkout_is_named_by_its_commit(tmp_path):
    assert commit_tags(tmp_path) == {}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (commit,) = commit_tags(tmp_path).values()
    shown = subprocess.run([*git, "log", "--format=%H"], capture_output=True, text=True, check=True)
    assert commit == shown.stdout.strip()
    (tmp_path / "file").write_text("2")
    assert commit_tags(tmp_path) == {"mlflow.source.git.commit": commit, "git_changed": "true"}


def test_the_list_of_runs_has_a_view_with_the_three_metrics(tracked):
    view = json.loads(tracked.client.get_experiment("1").tags[f"mlflow.sharedViewState.{VIEW}"])
    columns = json.loads(view["state"])["selectedColumns"]
    assert {f"metrics.`{name}`" for name in ("image_auroc", "pixel_auroc", "aupro_0.30")} <= set(columns)
    assert all(column[9:-1] in tracked.run.data.metrics for column in columns if column.startswith("metrics."))


class Client:
    """Keeps what it is told to log."""

    def __init__(self):
        self.metrics: list[Metric] = []

    def log_batch(self, run_id, metrics):
        self.metrics += metrics


def test_metrics_from_before_the_model_are_linked_to_it_too():
    record = RunRecord(client := Client(), "run")
    record.log_epochs({"loss": [(1, 3.0), (2, 2.0)]})
    record.log_metrics({"latent": 5.0})
    assert [metric.model_id for metric in client.metrics] == [None] * 3
    first = list(client.metrics)
    record.link_model("m-1")
    linked = client.metrics[3:]
    assert {(m.key, m.value, m.step) for m in linked} == {("loss", 2.0, 2), ("latent", 5.0, 0)}
    assert {m.model_id for m in linked} == {"m-1"}
    assert {(m.key, m.timestamp) for m in linked} <= {(m.key, m.timestamp) for m in first}  # no new point
    record.log_metrics({"auroc": 1.0}, tested=True)
    assert client.metrics[-1].model_id == "m-1" and len(client.metrics) == 6


@pytest.mark.parametrize(("group", "expected"), [({"seed": 3407}, "3407"), ({}, "0"), ("text", "0")])
def test_the_seed_in_the_list_of_runs_is_the_methods_own(monkeypatch, tmp_path, group, expected):
    """As that of FOD in the paper's environment."""
    hooks = TrackingHooks()
    hooks._parameters = {"dataset": "demo", "category": "cable", "seed": 0, "fod": group}
    hooks._context = SimpleNamespace(project_path=tmp_path)
    assert hooks._tags("fod", "1")["seed"] == expected
