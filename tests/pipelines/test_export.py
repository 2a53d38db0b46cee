"""A whole `kedro run --pipelines=export`: the bundle, its comparison with PyTorch, and what is refused."""

from contextlib import chdir

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from discrepancy.errors import InputError
from discrepancy.export import detect
from discrepancy.export.comparison import COLUMNS
from discrepancy.pipelines.export import nodes
from tests.conftest import WITHOUT_REPORT, make_project, run_method

BUNDLE = "data/06_models/folder/disc/padim/bundle/padim-folder-disc"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, part):
    """A project with a detector, and the scores of its run."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project")
    layers = ["blocks.1", "blocks.2"]
    version = run_method("padim", project, part, stages=WITHOUT_REPORT, channels=8, augmentation="none", layers=layers)
    scores = project / f"data/08_reporting/folder/disc/padim/scores.csv/{version}/scores.csv"
    return project, pd.read_csv(scores)


def export(project, part, **params):
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "method": "padim"}
    bootstrap_project(project)
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given | params) as session:
        session.run(pipeline_names=["export"])


def test_the_bundle_has_the_scores_of_the_run(trained, part, capsys):
    project, scores = trained
    export(project, part)
    table = pd.read_csv(project / "data/08_reporting/folder/disc/padim/export/compared.csv")
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["file"]) == sorted(scores["image"])
    merged = table.merge(scores, left_on="file", right_on="image")
    assert merged["onnx_score"].tolist() == pytest.approx(merged["score"].tolist(), rel=1e-4)
    bundle = detect.Bundle(project / BUNDLE)
    assert bundle.card["bundle"]["compared"]["photographs"] == len(scores)
    photographs = [detect.read_photograph((part / name).read_bytes(), name) for name in scores["image"]]
    results = bundle.results(list(scores["image"]), photographs)
    assert [result.score for result in results] == pytest.approx(scores["score"].tolist(), rel=1e-3)
    assert (project / f"{BUNDLE}.zip").is_file()
    said = capsys.readouterr()
    assert "PaDiM: a bundle of" in said.out + said.err and f"bundle       {BUNDLE}" in said.out + said.err
    refused_exports_leave_the_bundle_as_it_was(project, part)


def refused_exports_leave_the_bundle_as_it_was(project, part):
    """In the same test, as an export takes long."""
    with pytest.raises(InputError, match="difference of the export"):
        export(project, part, export={"tolerance": 1e-30}, input=str(part / "disc/test/good"))
    compared = pd.read_csv(project / "data/08_reporting/folder/disc/padim/export/compared.csv")
    assert compared["file"].tolist() == ["000.png", "001.png", "002.png"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"category": "plate"}, "no detector; expected a training of this part before"),
        ({"export": {"tolerance": 0}}, "tolerance"),
        ({"export": {"tolerence": 1}}, "unknown .tolerence. .did you mean .tolerance"),
    ],
)
def test_what_cannot_be_exported_is_refused(trained, part, params, said):
    with pytest.raises(Exception, match=said):
        export(trained[0], part, **params)


def test_a_folder_with_anything_else_is_refused_before_all_work(trained, part, tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "onnx_graph", lambda _: pytest.fail("a minute of work that would be lost"))
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"holds 'thesis\.txt', which a bundle in its place would delete"):
        export(trained[0], part, output=str(tmp_path))
    assert (tmp_path / "thesis.txt").read_text() == "years"
