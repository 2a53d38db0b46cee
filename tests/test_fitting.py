"""A detector in one call is the one that a run of the same photographs and parameters gives."""

import shutil

import numpy as np
import pandas as pd
import pytest

from discrepancy import fit_detector, load_detector
from discrepancy.errors import InputError
from tests.conftest import WITHOUT_REPORT, run_method

pytestmark = pytest.mark.sessions


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("padim", {"channels": 8}),
        ("dfr", {"epochs": 2, "latent_dim": 4}),
        ("fod", {"epochs": 1, "widths": [8, 8], "depth": 1, "heads": 2}),
    ],
)
def test_it_is_the_detector_of_a_run(project, part, tmp_path, method, parameters):
    version = run_method(method, project, part, stages=WITHOUT_REPORT, **parameters)
    scores = pd.read_csv(project / f"data/08_reporting/folder/disc/{method}/scores.csv/{version}/scores.csv")
    fitted = fit_detector(part / "disc/train/good", method=method, image_size=96, **parameters)
    fitted.save(tmp_path / "detector")
    detector = load_detector(tmp_path / "detector")
    found = detector.predict([part / name for name in scores["image"]])
    np.testing.assert_allclose(found.scores, scores["score"], rtol=2e-4)
    assert [one.decision for one in found] == scores["decision"].tolist()
    assert detector.card.images == {"train": 5, "validation": 5} and detector.card.category == "good"


def test_features_are_kept_where_asked(part, tmp_path):
    for _ in range(2):
        fit_detector(part / "disc/train/good", method="padim", image_size=96, channels=8, cache=tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "pdim"}, "method: 'pdim' is not known; expected dfc"),
        ({"epoch": 3}, "unknown 'epoch'"),
        ({"image_size": "x"}, "image_size is 'x'"),
        ({"false_positive_rate": 2}, "false_positive_rate"),
    ],
)
def test_wrong_parameters_are_refused(part, changes, said):
    with pytest.raises(ValueError, match=said):
        fit_detector(part / "disc/train/good", **changes)


def test_photographs_that_cannot_be_read_or_are_too_few_are_refused(part, tmp_path):
    shutil.copytree(part / "disc/train/good", tmp_path / "good")
    (tmp_path / "good/000.png").write_text("hello")
    with pytest.raises(InputError, match=r"000\.png"):
        fit_detector(tmp_path / "good", method="padim", image_size=96)
    with pytest.raises(InputError, match="expected at least 2"):
        fit_detector(part / "disc/train/good/000.png", method="padim", image_size=96)
