"""Two runs of one part at once, with other data and parameters: each has the result that it has alone."""

import json
import shutil
from itertools import product

import pytest
from PIL import Image, ImageOps

from tests.conftest import make_project
from tests.faults.held_run import Run

STEPS = (
    "ingestion.split_samples",
    "ingestion.decode_images",
    "training.dfc.extract_features",
    "training.dfc.train",
    "scoring.dfc.set_thresholds",
    "scoring.dfc.score_test",
    "scoring.dfc.evaluate",
)
COSTS = {"train_seconds", "images_per_second", "peak_memory_mib"}
HERE = [(STEPS[4], None)]
"""Where the first waits, and where the second does; None: the second runs to its end meanwhile."""


@pytest.fixture(scope="module")
def parameters(part, tmp_path_factory):
    """Of the first run and the second: other photographs, size, split and method."""
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(part / "disc", other / "disc")
    for path in other.rglob("*.png"):
        if "ground_truth" not in path.parts:
            ImageOps.invert(Image.open(path)).save(path)
    shared = {"dataset": "folder", "category": "disc", "reporting": {"segmentations": False}}
    dfc = {"width": 8, "device": "cpu"}
    first = shared | {"data_root": str(part), "image_size": 96, "dfc": {**dfc, "epochs": 2}}
    second = shared | {"data_root": str(other), "image_size": 80, "seed": 3, "dfc": {**dfc, "epochs": 1}}
    return first, second


def latest(project):
    """The results of the run of a project that ended last, by the name of the file."""
    report = project / "data/08_reporting/folder/disc/dfc"
    found = {}
    for name in ("metrics.json", "scores.csv", "table.csv", "card.json"):
        for path in (report / name).glob(f"*/{name}"):
            found.setdefault(path.parent.name, {})[name] = path.read_text()
    return {version: cleaned(files) for version, files in found.items()}


def cleaned(files):
    metrics = {name: value for name, value in json.loads(files["metrics.json"]).items() if name not in COSTS}
    return files | {"metrics.json": metrics}


@pytest.fixture(scope="module")
def alone(zygote, parameters, tmp_path_factory):
    """The results of each run alone; and a project in which nothing was run, but which MLflow knows."""
    project = make_project(tmp_path_factory.mktemp("alone") / "project")
    for given in parameters:
        Run(zygote, project, project / "log", **given).finish()
    results = latest(project)
    found = [results[version] for version in sorted(results)]
    fresh = make_project(tmp_path_factory.mktemp("fresh") / "project")
    shutil.copy(project / "mlflow.db", fresh)
    assert found[0] != found[1]
    return found, fresh


@pytest.mark.parametrize(
    ("first_step", "second_step"),
    [
        pytest.param(*pair, marks=() if pair in HERE else pytest.mark.slow)
        for pair in product(STEPS, (None, *STEPS[1::2]))
    ],
)
@pytest.mark.parametrize("order", [(0, 1), pytest.param((1, 0), marks=pytest.mark.slow)], ids=["", "swapped"])
def test_each_has_its_own_result(zygote, parameters, alone, tmp_path, first_step, second_step, order):
    expected, fresh = alone
    project = shutil.copytree(fresh, tmp_path / "project")
    one, two = (parameters[i] for i in order)
    first = Run(zygote, project, tmp_path / "log1", hold=first_step, gate=tmp_path / "gate1", **one).until_held()
    second = Run(zygote, project, tmp_path / "log2", hold=second_step, gate=tmp_path / "gate2", **two)
    if second_step is None:
        second.finish()  # began later, ends first
        first.go_on().finish()
    else:
        second.until_held()
        first.go_on().finish()
        second.go_on().finish()
    results = latest(project)
    assert [results[version] for version in sorted(results)] == [expected[i] for i in order]
