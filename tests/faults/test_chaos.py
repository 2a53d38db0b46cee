"""Killed at any moment, and started again: the result is that of a run which was left alone, and nothing lies about."""

import json
import random
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from safetensors.numpy import load_file

from discrepancy.tracking.live import FOLDER
from tests.conftest import make_project
from tests.faults.held_run import Run

pytestmark = pytest.mark.slow

KILLS = {"dfc": 30, "dfr": 30, "fod": 30, "benchmark": 10}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COSTS = {"train_seconds", "images_per_second", "peak_memory_mib"}
SETTINGS = {
    "dfc": {"epochs": 4, "width": 8, "device": "cpu"},
    "dfr": {"epochs": 6, "latent_dim": 8, "device": "cpu"},
    "fod": {"epochs": 4, "widths": [16, 16], "heads": 2, "device": "cpu", "checkpoint_every": 1},
}
BENCHMARK = {"methods": ["dfr"], "categories": ["disc"], "seeds": [0, 1], "name": "b", "threads": 1}


def arguments(method, part):
    shared = {"dataset": "folder", "data_root": str(part), "image_size": 96, "reporting": {"segmentations": True}}
    if method == "benchmark":
        return {"benchmark": {**BENCHMARK, "params": {**shared, "dfr": SETTINGS["dfr"]}}}
    return {"pipeline": method, "category": "disc", **shared, method: SETTINGS[method]}


def results(project, method):
    """Weights, thresholds, scores and metrics of what ended last, by where they lie."""
    if method == "benchmark":
        table = pd.read_csv(project / "data/08_reporting/benchmark/b/report/results.csv")
        return table.drop(columns=["seconds", *COSTS]).astype(str).to_dict()
    version = max(path.name for path in (project / f"data/08_reporting/folder/disc/{method}/summary.txt").iterdir())
    report = project / f"data/08_reporting/folder/disc/{method}"
    detector = project / f"data/06_models/folder/disc/{method}/detector/{version}/detector"
    metrics = json.loads((report / f"metrics.json/{version}/metrics.json").read_text())
    return {
        "weights": {name: values.tobytes() for name, values in load_file(detector / "weights.safetensors").items()},
        "thresholds": json.loads((detector / "card.json").read_text())["thresholds"],
        "scores": (report / f"scores.csv/{version}/scores.csv").read_text(),
        "metrics": {name: value for name, value in metrics.items() if name not in COSTS},
    }


def check_files(project):
    """No file is torn, and none is one that a killed process had not finished."""
    for path in (project / "data").rglob("*"):
        assert not path.name.startswith(".unfinished-") and path.suffix not in {".tmp", ".part"}, path
        if path.is_dir():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".csv":
            pd.read_csv(path)
    assert not list(project.rglob("checkpoint*.pt"))


def check_tracking(project):
    """No run is under way; those that are there ended as FINISHED or KILLED."""
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=10_000)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"} and not list((project / FOLDER).iterdir())


@pytest.mark.parametrize("method", KILLS)
def test_kills_at_random_moments_change_nothing(method, zygote, part, tmp_path):
    draw = random.Random(f"{method} 1")
    project = make_project(tmp_path / "project")
    given = arguments(method, part)

    def finished():
        """The seconds that a run takes."""
        began = time.monotonic()
        Run(zygote, project, tmp_path / "log", **given).finish(timeout=600)
        return time.monotonic() - began

    finished()  # the first one makes MLflow's database, too
    whole = finished()
    expected = results(project, method)
    kills, endings = 0, []
    while kills < KILLS[method]:
        if method == "benchmark" or draw.random() < 0.3:  # from the very beginning
            shutil.rmtree(project / "data")
        for _ in range(draw.randint(1, 4)):
            run = Run(zygote, project, tmp_path / "log", **given)
            time.sleep(draw.uniform(0, whole))
            endings.append(run.kill(draw.choice(SIGNALS)))
            kills += 1
        whole = min(whole, finished())
        assert results(project, method) == expected
        check_files(project)
        check_tracking(project)
    assert sum(code != 0 for code in endings) > kills / 2  # the others had ended before
