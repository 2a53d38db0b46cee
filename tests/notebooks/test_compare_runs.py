"""The notebook that compares runs and detectors, executed on the runs of two methods."""

import pytest

from tests.conftest import WITHOUT_REPORT, make_project, run_method
from tests.notebooks.execution import execute, read, said, shown


@pytest.fixture(scope="module")
def executed(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("runs") / "project")
    once = {"augmentation": "none"}
    runs = [("padim", {"channels": 8, **once}), ("patchcore", {"coreset": 0.05}), ("padim", {"channels": 20, **once})]
    for method, parameters in runs:
        run_method(method, project, part, stages=WITHOUT_REPORT, device="cpu", **parameters)
    settings = tmp_path_factory.mktemp("settings")
    return execute(read("compare_runs"), project, settings, parameters='TRACKING = None\nEXPERIMENT = "discrepancy"')


def test_it_shows_the_latest_run_of_each_method(executed):
    assert said(executed) == []
    table, beside, best = shown(executed, "text/html")
    assert table.count("<td>") == 2 * 6 and ">padim<" in table and ">patchcore<" in table
    assert "font-weight: bold" in beside
    assert best.count("m-") == 1 and len(shown(executed, "image/png")) == 1


def test_it_loads_the_best_detector(executed):
    texts = shown(executed, "text/plain")
    assert "for folder/disc, 96x96 px" in texts[-2] and "held-out good images" in texts[-1]
