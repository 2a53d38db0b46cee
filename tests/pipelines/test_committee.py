"""A committee's whole run, through Kedro, on a part that takes seconds."""

import json

import pandas as pd
import pytest

from discrepancy import load_detector
from discrepancy.methods.registry import METHODS
from tests.conftest import make_project, run_method

pytestmark = pytest.mark.sessions
SETTINGS = {"padim": {"channels": 16, "augmentation": "none"}, "dfr": {"epochs": 20, "latent_dim": 8}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    return project, run_method("committee", project, part, members="padim+dfr", settings=SETTINGS, device="cpu")


def report(project, version, name):
    return project / "data/08_reporting/folder/disc/committee" / name / version / name


def test_it_found_the_scratches_and_says_who_counted_how_much(finished):
    metrics = json.loads(report(*finished, "metrics.json").read_text())
    assert metrics["image_auroc"] == 1.0 and metrics["pixel_auroc"] > 0.9
    card = json.loads(report(*finished, "card.json").read_text())
    assert list(card["weights"]) == list(card["members"]) == ["padim", "dfr"]
    assert sum(card["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert card["members"]["dfr"]["latent_dim"] == 8 and card["members"]["padim"]["parameters"]["channels"] == 16


def test_the_features_were_extracted_once(finished):
    """Of the photographs; DFR's are reduced from those maps."""
    project, _ = finished
    entries = [json.loads(path.read_text())["ingredients"] for path in project.rglob("04_feature/**/card.json")]
    assert len([one for one in entries if "images" in one]) == 1
    assert len([one for one in entries if "reduction_of" in one]) == 1


def test_the_detector_goes_to_work(finished, part):
    project, version = finished
    detector = load_detector(project / "data/06_models/folder/disc/committee/detector" / version / "detector")
    scores = pd.read_csv(report(*finished, "scores.csv"))
    defective = sorted((part / "disc/test").glob("scratch/*.png")) or sorted(part.rglob("test/[!g]*/*.png"))
    found = detector.predict([str(path) for path in defective]).to_pandas()
    expected = scores[scores["label"] == 1]["score"]
    assert sorted(found["score"].round(3)) == pytest.approx(sorted(expected.round(3)), rel=1e-2)


def test_members_that_are_trained_already_are_taken(finished, part, caplog):
    """DFR by itself, then the committee: it takes DFR as it is, unless told otherwise or with other parameters."""
    project, _ = finished
    caplog.set_level("INFO")
    run_method("dfr", project, part, stages=["ingestion", "training"], device="cpu", **SETTINGS["dfr"])
    given = {"members": "padim+dfr", "device": "cpu", "stages": ["ingestion", "training"]}
    caplog.clear()
    run_method("committee", project, part, settings=SETTINGS, **given)
    assert "dfr is trained already" in caplog.text and "fitting padim" in caplog.text
    caplog.clear()
    changed = {**SETTINGS, "dfr": {**SETTINGS["dfr"], "epochs": 21}}
    run_method("committee", project, part, settings=changed, **given)
    assert "fitting dfr" in caplog.text
    caplog.clear()
    run_method("committee", project, part, settings=SETTINGS, reuse=False, **given)
    assert "fitting dfr" in caplog.text


def test_every_other_method_may_be_a_member():
    assert set(METHODS["committee"].Parameters(members=[name for name in METHODS if name != "committee"]).members) == {
        *METHODS
    } - {"committee"}
