"""A run loads what it saved itself, whatever else lies there or is written meanwhile."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import Version

from discrepancy.data.lazy_array import LazyArray
from discrepancy.datasets import ArrayDataset, FigureDataset, PicturesDataset, TableDataset, TextDataset, ValuesDataset
from discrepancy.detection import load_method
from discrepancy.errors import InputError
from discrepancy.training.launch import _as_path
from tests.conftest import WITHOUT_REPORT
from tests.faults.conftest import start

FUTURE = "2030-01-01T00.00.00.000Z"


def test_a_version_from_a_clock_that_is_ahead_is_not_loaded(finished, part):
    project, version = finished
    for kind in ("06_models/folder/disc/dfc/detector", "08_reporting/folder/disc/dfc/card.json"):
        shutil.copytree(project / "data" / kind / version, project / "data" / kind / FUTURE)
    changes = {"residuals": "raw", "by_position": False}
    later = start(project, part, options={"namespaces": WITHOUT_REPORT}, dfc=changes)
    report = project / "data/08_reporting/folder/disc/dfc"
    scores = pd.read_csv(report / "scores.csv" / later / "scores.csv")
    detector = load_method(project / "data/06_models/folder/disc/dfc/detector" / later / "detector")
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/maps.npy")
    expected = detector.image_scores(torch.from_numpy(maps)).numpy()
    np.testing.assert_allclose(scores["score"], expected, rtol=1e-6)
    threshold = detector.card.thresholds.image.value
    assert list(scores["decision"] == "anomalous") == list(scores["score"] > threshold)
    ahead = json.loads((report / "card.json" / FUTURE / "card.json").read_text())["thresholds"]["image"]["value"]
    assert ahead != pytest.approx(threshold, rel=0.1)
    # From the middle: the versions that belong together, not the one with the latest name.
    again = start(project, part, options={"to_nodes": ["reporting.dfc.summarise"], "tags": ["reporting"]}, dfc=changes)
    told = (report / "summary.txt" / again / "summary.txt").read_text()
    assert f"threshold {threshold:.6g}" in told


VERSIONED = [
    (TableDataset, pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
    (ValuesDataset, {"a": 1}, {"a": 2}),
    (TextDataset, "mine", "theirs"),
]


@pytest.mark.parametrize(("kind", "mine", "theirs"), VERSIONED)
@pytest.mark.parametrize("versions", [("2026-01-01", "2030-01-01"), (None, None)])
def test_what_was_saved_is_what_is_loaded(kind, mine, theirs, versions, tmp_path):
    own, other = (
        kind(filepath=str(tmp_path / "x"), version=version and Version(None, version)) for version in versions
    )
    own.save(mine)
    other.save(theirs)
    assert str(own.load()) == str(mine) and str(other.load()) == str(theirs)


def test_what_was_chosen_is_what_is_loaded(tmp_path):
    """What `found` tells of is loaded, even if another run replaces it; in a notebook the newest is."""
    first, second = (TextDataset(filepath=str(tmp_path / "x")) for _ in range(2))
    second.save("first")
    assert first.load() == "first" and list(first.found()) == [(None, None)]
    second.save("second")
    assert first.load() == "first"
    first.release()
    assert first.load() == "second"


@pytest.mark.parametrize("fingerprint", [None, "abc"])
def test_an_array_stays_that_of_this_run(tmp_path, fingerprint):
    def made(value):
        pieces = [np.full((3, 2), value, np.float32)]
        return LazyArray((3, 2), np.dtype(np.float32), lambda: iter(pieces), fingerprint and f"{fingerprint}{value}")

    own, other = (ArrayDataset(filepath=str(tmp_path / "x.npy")) for _ in range(2))
    own.save(made(1))
    other.save(made(2))
    assert (own.load() == 1).all() and (other.load() == 2).all()
    own.release()
    assert (own.load() == 2).all()


def test_figures_and_pictures_are_those_of_this_run(tmp_path):
    from matplotlib.figure import Figure

    mine = FigureDataset(filepath=str(tmp_path / "x.png"), version=Version(None, "2026"))
    mine.save(Figure((1, 1), dpi=10, facecolor="red"))
    FigureDataset(filepath=str(tmp_path / "x.png"), version=Version(None, "2030")).save(Figure((1, 1), dpi=10))
    assert tuple(mine.load()[0, 0]) == (255, 0, 0)
    pictures = PicturesDataset(filepath=str(tmp_path / "p"), version=Version(None, "2026"))
    pictures.save([("a.png", np.zeros((2, 2), np.uint8))])
    PicturesDataset(filepath=str(tmp_path / "p"), version=Version(None, "2030")).save([])
    assert list(pictures.load()) == ["a.png"]


def test_the_processes_of_one_training_read_its_array_or_none(tmp_path):
    own, other = (ArrayDataset(filepath=str(tmp_path / "x.npy")) for _ in range(2))
    own.save(np.arange(3))
    handed_on = _as_path(own.load())
    assert list(handed_on.open()) == [0, 1, 2]
    other.save(np.arange(3) + 1)
    with pytest.raises(InputError, match=r"x.npy was replaced by another run"):
        handed_on.open()
