"""The notebook, executed in a kernel of its own on a small finished run."""

import json
import sys

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell

from tests.conftest import kedro, make_project
from tests.notebooks.execution import execute, read, said, shown

PARAMETERS = 'DATASET = "folder"\nCATEGORY = "disc"\nMETHOD = "dfc"'
SEEN = """
import json, sys
json.dumps({"python": sys.executable, "score": score, "image": scores["image"][row], "pixels": list(found.shape)})
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part, zygote):
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    given = f"dataset=folder,data_root={part},category=disc,image_size=96,device=cpu,dfc.epochs=1,dfc.width=24"
    done = kedro(project, "run", "--pipelines=dfc", f"--params={given}", start=zygote.popen)
    assert done.returncode == 0, done.stderr
    (project / "notebooks").mkdir()
    return project


@pytest.fixture(scope="module")
def executed(finished, tmp_path_factory):
    """The notebook with its outputs, and what its last cell tells; no kernel or setting of the user takes part."""
    notebook = read("first_look")
    notebook.cells.append(new_code_cell(SEEN))
    execute(notebook, finished / "notebooks", tmp_path_factory.mktemp("settings"), parameters=PARAMETERS)
    last = notebook.cells.pop().outputs[-1]["data"]["text/plain"]
    return notebook, json.loads(last.strip("'"))


def test_it_runs_without_a_word_on_the_console(executed):
    notebook, _ = executed
    assert said(notebook) == []


def test_this_python_ran_it(executed):
    assert executed[1]["python"] == sys.executable


def test_it_shows_tables_curves_and_gallery(executed):
    notebook, _ = executed
    tables = shown(notebook, "text/html")
    assert "<td>scratch</td>" in tables[0] and "<th>aupro_0.30</th>" in tables[1] and "<th>loss</th>" in tables[2]
    assert len(shown(notebook, "image/png")) == 6


def test_the_loaded_detector_gives_the_score_of_the_report(executed, finished):
    notebook, told = executed
    newest = max(finished.glob("data/08_reporting/folder/disc/dfc/scores.csv/*/scores.csv"))
    scores = pd.read_csv(newest).set_index("image")["score"]
    assert told["image"] == scores.idxmax() and told["score"] == pytest.approx(scores.max(), rel=1e-3)
    assert f"score {scores.max():.2f}" in shown(notebook, "text/plain")[-2] and told["pixels"] == [96, 96, 3]
