"""The report at the end of a run: its file, its links, MLflow's copy, and the animation if it is asked for."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import mlflow
import pytest
from PIL import Image

from tests.conftest import make_project, run_method

QUICK = {"epochs": 1, "width": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("a run #1") / "project")
    return project, run_method("dfc", project, part, **QUICK)


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "project"))


def report(project, version, name="report.html"):
    return project / "data/08_reporting/folder/disc/dfc" / name / version / name


def links(text):
    return dict(re.findall(r'<dt>(\w+)</dt>\n<dd><a href="([^"]*)">', text))


def test_the_page_says_what_the_tables_say(finished):
    project, version = finished
    text = report(project, version).read_text()
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    assert f'<td>image AUROC</td><td class="number">{metrics["image_auroc"]:.3f}</td><td>3 good, 3 def' in text
    card = json.loads(report(project, version, "card.json").read_text())
    for words in (card["thresholds"]["image"]["note"], card["data_digest"], card["versions"]["torch"]):
        assert words in text
    assert "<td>dfc.epochs</td><td>1</td><td>null</td>" in text.partition("<details>")[0]
    for words in ("Loss per epoch", "ROC curves", "PRO curve", "Gallery of DFC on disc"):
        assert f'<img alt="{words}' in text
    assert version.partition("T")[0] in text and len(text) < 1_000_000


def test_the_link_leads_to_the_detector(finished):
    project, version = finished
    page = report(project, version)
    folder = (page.parent / unquote(links(page.read_text())["Folder"])).resolve()
    assert folder == project / "data/06_models/folder/disc/dfc/detector" / version / "detector"
    assert (folder / "card.json").is_file()


def test_the_link_leads_to_the_run_in_mlflow_which_has_the_page_too(finished):
    project, version = finished
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("discrepancy").experiment_id
    (run,) = client.search_runs([experiment])
    text = report(project, version).read_text()
    assert links(text)["MLflow"] == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run.info.run_id}"
    [kept] = project.glob("mlartifacts/**/report.html")
    assert run.info.run_id in kept.parts and kept.read_text() == text


def test_a_report_of_an_earlier_detector_leads_to_that_one(copied, part, finished, capsys):
    version = run_method("dfc", copied, part, stages=["reporting"], **QUICK)
    assert version != finished[1]
    folder = unquote(links(report(copied, version).read_text())["Folder"])
    assert folder.endswith(f"/detector/{finished[1]}/detector")
    labels = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "  data/08_reporting" in line]
    assert labels[:2] == ["report", "gallery"]


def test_without_tracking_there_is_no_link_to_mlflow(copied, part):
    file = copied / "conf/base/mlflow.yml"
    file.write_text(file.read_text().replace("pipelines: [download", "pipelines: [dfc, download"))
    text = report(copied, run_method("dfc", copied, part, stages=["reporting"], **QUICK)).read_text()
    assert set(links(text)) == {"Folder"} and "mlflow" not in text.lower()


def test_the_animation_is_there_if_it_is_asked_for(copied, part, finished, capsys):
    assert list(report(copied, finished[1], "animation").iterdir()) == []
    version = run_method("dfc", copied, part, stages=["reporting"], reporting={"animation": True}, **QUICK)
    film = report(copied, version, "animation") / "animation.gif"
    assert Image.open(film).n_frames == 6 and film.stat().st_size <= 2_000_000
    assert f"animation    data/08_reporting/folder/disc/dfc/animation/{version}/animation\n" in capsys.readouterr().out
