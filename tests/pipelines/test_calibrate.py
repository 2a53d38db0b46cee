"""A whole `kedro run --pipelines=calibrate`: new thresholds from new photographs, and what it says about them."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from discrepancy import load_detector
from discrepancy.decisions.calibration import Calibration
from discrepancy.errors import InputError
from discrepancy.loading import newest_version
from tests.conftest import WITHOUT_REPORT, make_project, run_method, write_part

pytestmark = pytest.mark.sessions
MODELS = "data/06_models/folder/disc/patchcore/detector"
REPORTS = "data/08_reporting/folder/disc/patchcore/calibration"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("trained") / "project")
    run_method("patchcore", project, part, stages=WITHOUT_REPORT, coreset=0.1, smallest_memory=1)
    return project


@pytest.fixture
def trained(tmp_path, trained_once):
    """A project of its own with a detector."""
    return Path(shutil.copytree(trained_once, tmp_path / "trained"))


@pytest.fixture(scope="module")
def dim(tmp_path_factory):
    """Photographs under a warmer lamp, by a noisier camera: 24 of good parts, 6 with a scratch."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("dim")
    write_part(folder / "disc", train=24, good=1, bad=6)
    for path in (folder / "disc").rglob("[0-9][0-9][0-9].png"):
        pixels = np.asarray(Image.open(path), np.float32)
        pixels = pixels * np.float32([1.0, 0.7, 0.4]) + rng.normal(0, 10, pixels.shape)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return folder / "disc"


def calibrate(project, good, **params):
    given = {"dataset": "folder", "category": "disc", "image_size": 96, "method": "patchcore", "good": str(good)}
    bootstrap_project(project)
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given | params) as session:
        session.run(pipeline_names=["calibrate"])


def written(project, name):
    return max((project / REPORTS / name).glob(f"*/{name}"))


def test_thresholds_follow_another_lamp_and_the_drift_is_named(trained, dim, capsys):
    before = load_detector(trained / MODELS)
    weights = (newest_version(trained / MODELS) / "weights.safetensors").read_bytes()
    calibrate(trained, dim / "train/good", calibrate={"false_positive_rate": 0.05})
    after = load_detector(trained / MODELS)
    assert (newest_version(trained / MODELS) / "weights.safetensors").read_bytes() == weights
    scores = before.predict(dim / "train/good").scores
    expected = Calibration(scores, 0.05)
    assert after.threshold == pytest.approx(expected.threshold, rel=1e-4)
    assert after.card.decision.image.interval == pytest.approx(expected.interval, rel=1e-3)
    assert after.card.decision.image.images == 24
    values = json.loads(written(trained, "values.json").read_text())
    assert values["threshold_before"] == before.threshold
    assert values["false_alarm_rate_before"] == pytest.approx((scores > before.threshold).mean())
    assert values["drifted"] == 1
    assert values["detection_rate"] is None
    said = capsys.readouterr()
    assert "The scores of 24 new photographs differ from those of the 5 photographs" in said.out
    assert "drift" in said.out
    table = pd.read_csv(written(trained, "scores.csv"))
    np.testing.assert_allclose(table["score"], scores, rtol=1e-5)
    np.testing.assert_allclose(table["relative_score"], scores / after.threshold, rtol=1e-4)
    assert (table["decision"] == np.where(scores > after.threshold, "anomalous", "good")).all()
    for name in ("drift", "roc"):
        assert Image.open(written(trained, f"{name}.png")).width > 600


def test_costs_choose_the_threshold(trained, dim):
    costs = {"cost_miss": 100, "cost_alarm": 1, "defect_share": 0.1}
    calibrate(trained, dim / "train/good", defects=str(dim / "test/scratch"), **costs)
    detector = load_detector(trained / MODELS)
    defects = detector.predict(dim / "test/scratch").scores
    calibration = detector.card.decision.image.calibration
    grid = np.sort(np.concatenate([np.linspace(defects.min() * 0.5, defects.max(), 2001), defects, defects - 1e-4]))
    misses = np.array([(defects <= value).mean() for value in grid])
    expected = 0.1 * 100 * misses + 0.9 * calibration.false_alarm_probability(grid)
    missed = (defects <= detector.threshold).mean()
    cost = 0.1 * 100 * missed + 0.9 * calibration.false_alarm_probability([detector.threshold])[0]
    assert cost <= expected.min() + 1e-3
    assert "least expected cost" in detector.card.decision.image.note
    values = json.loads(written(trained, "values.json").read_text())
    assert values["detection_rate"] == pytest.approx(1 - missed)
    assert values["detection_rate_low"] < values["detection_rate"] <= values["detection_rate_high"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"good": ""}, "good: nothing given; expected photographs of good parts"),
        ({"cost_miss": 5}, "costs need all of cost_miss, cost_alarm, defect_share and defects"),
        ({"calibrate": {"rule": "median"}}, "rule"),
    ],
)
def test_wrong_parameters_are_named(trained, dim, params, said):
    with pytest.raises(Exception, match=said):
        calibrate(trained, params.pop("good", dim / "train/good"), **params)


def test_a_photograph_that_cannot_be_read_is_named_and_nothing_changes(trained, dim, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((dim / "train/good").iterdir())[:4]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "002.png").write_text("hello")
    before = newest_version(trained / MODELS)
    with pytest.raises(InputError, match=r"002\.png"):
        calibrate(trained, folder)
    assert newest_version(trained / MODELS) == before


@pytest.mark.parametrize("method", ["padim", "dfr", "committee"])
def test_a_run_with_cross_fitting_holds_out_every_good_image(project, part, method):
    """All train the detector, and all give scores for the threshold."""
    parameters = {
        "padim": {"channels": 8, "augmentation": "none"},
        "dfr": {"epochs": 1, "latent_dim": 4},
        "committee": {"members": ["padim"], "settings": {"padim": {"channels": 8, "augmentation": "none"}}},
    }[method]
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "image_size": 96, method: parameters}
    given |= {"ingestion": {"calibration": "cross", "folds": 5}}
    bootstrap_project(project)
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given) as session:
        session.run(pipeline_names=[method], namespaces=WITHOUT_REPORT)
    card = load_detector(project / MODELS.replace("patchcore", method)).card
    assert card.images == {"train": 10, "validation": 0}
    assert card.decision.image.images == len(card.decision.image.scores) == 10
    assert not list((project / f"data/06_models/folder/disc/{method}").glob("*.pt"))
