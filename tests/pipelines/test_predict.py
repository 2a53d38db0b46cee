"""A whole `kedro run --pipelines=predict`: what it writes, says, and keeps when it is killed."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from PIL import Image

from discrepancy.detection.storage import load_method
from discrepancy.errors import InputError
from discrepancy.pipelines.predict.nodes import UnreadableError
from tests.conftest import WITHOUT_REPORT, make_project, run_method

BAD = ("cut.png", "empty.png", "folder.png", "text.png", "wide.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, part):
    """A project with a detector, and the scores of its run."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project")
    version = run_method("padim", project, part, stages=WITHOUT_REPORT, channels=8, augmentation="none")
    scores = project / f"data/08_reporting/folder/disc/padim/scores.csv/{version}/scores.csv"
    return project, pd.read_csv(scores)


@pytest.fixture(scope="module")
def photos_once(tmp_path_factory, part):
    folder = tmp_path_factory.mktemp("photos") / "photos"
    shutil.copytree(part / "disc/test", folder)
    whole = (folder / "good/000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "text.png").write_text("hello")
    Image.new("L", (40_000, 3_000)).save(folder / "wide.png")
    return folder


@pytest.fixture
def photos(tmp_path, photos_once):
    """The test photographs, and five files that are none."""
    return Path(shutil.copytree(photos_once, tmp_path / "photos"))


def predict(project, photos, *, versions=None, **params):
    given = {"dataset": "folder", "category": "disc", "image_size": 96, "method": "padim", "input": str(photos)}
    bootstrap_project(project)
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given | params) as session:
        session.run(pipeline_names=["predict"], load_versions=versions)


def table_of(folder):
    return pd.read_csv(folder / "predictions.csv", keep_default_na=False).drop(columns="seconds")


def assert_same(found, expected):
    """Tables with the same lines; other batches round otherwise."""
    numbers = ["score", "relative_score", "false_alarm_probability"]
    pd.testing.assert_frame_equal(found.drop(columns=numbers), expected.drop(columns=numbers))
    for name in numbers:
        pd.testing.assert_series_equal(pd.to_numeric(found[name]), pd.to_numeric(expected[name]), rtol=2e-3)
    pd.testing.assert_series_equal(pd.to_numeric(found["score"]), pd.to_numeric(expected["score"]), rtol=1e-5)


def test_scores_are_those_of_the_run_and_every_bad_file_is_named(trained, photos, tmp_path, capsys):
    project, scores = trained
    predict(project, photos, output=str(tmp_path / "out"), predict={"maps": True, "masks": True})
    table = table_of(tmp_path / "out")
    good = table[table["decision"] != "unreadable"].assign(image=lambda t: "disc/test/" + t["file"])
    both = good.merge(scores, on="image", suffixes=("", "_run"))
    assert len(both) == len(scores) == 6
    np.testing.assert_allclose(both["score"].astype(float), both["score_run"], rtol=1e-5)
    for name in ("relative_score", "false_alarm_probability"):
        np.testing.assert_allclose(both[name].astype(float), both[f"{name}_run"], rtol=2e-3)
    assert (both["decision"] == both["decision_run"]).all()
    for name, decision in zip(both["file"], both["decision"], strict=True):
        mask = np.asarray(Image.open(tmp_path / "out/masks" / f"{name}.png"))
        assert mask.any() == (decision == "anomalous"), name
    bad = table[table["decision"] == "unreadable"]
    assert bad["file"].tolist() == list(BAD)
    assert all(name in reason for name, reason in zip(BAD, bad["reason"], strict=True))
    said = capsys.readouterr().out
    assert "5 of 11 files could not be read" in said and "predictions.html" in said
    for kind, suffix in (("overlays", ".jpg"), ("maps", ".tiff"), ("masks", ".png"), ("thumbnails", ".jpg")):
        found = {
            path.relative_to(tmp_path / "out" / kind).as_posix() for path in (tmp_path / "out" / kind).rglob("*.*")
        }
        assert found == {f"{name}{suffix}" for name in good["file"]}
    page = (tmp_path / "out/predictions.html").read_text()
    assert all(name in page for name in table["file"])


def test_a_second_call_examines_what_is_new_or_changed(trained, photos, tmp_path, caplog):
    project, _ = trained
    out = tmp_path / "out"
    predict(project, photos, output=str(out))
    before = {path: path.stat().st_mtime_ns for path in (out / "overlays").rglob("*.jpg")}
    shutil.copy(photos / "good/000.png", photos / "good/new.png")
    shutil.copy(photos / "good/000.png", photos / "scratch/000.png")
    (photos / "good/002.png").unlink()
    predict(project, photos, output=str(out))
    table = table_of(out).set_index("file")
    assert "good/new.png" in table.index and "good/002.png" not in table.index
    assert (
        table.loc["scratch/000.png", "score"]
        == table.loc["good/000.png", "score"]
        == table.loc["good/new.png", "score"]
    )
    after = {path: path.stat().st_mtime_ns for path in (out / "overlays").rglob("*.jpg")}
    assert {path.name for path in after if after[path] != before.get(path)} == {"new.png.jpg", "000.png.jpg"}
    assert after[out / "overlays/good/000.png.jpg"] == before[out / "overlays/good/000.png.jpg"]


def test_the_detector_is_read_once(trained, photos, tmp_path, monkeypatch):
    project, _ = trained
    read = []

    def counted(path, **given):
        read.append(path)
        return load_method(path, **given)

    monkeypatch.setattr("discrepancy.datasets.prediction.load_method", counted)
    predict(project, photos / "good", output=str(tmp_path / "out"))
    assert len(read) == 1


def test_what_could_not_be_read_is_tried_again(trained, photos, tmp_path, monkeypatch):
    project, _ = trained
    out = tmp_path / "out"

    def failing(path, **_):
        raise InputError(f"{path}: no permission")

    with monkeypatch.context() as patch:
        patch.setattr("discrepancy.prediction.sources.read_photograph", failing)
        with pytest.raises(UnreadableError):
            predict(project, photos / "good", output=str(out))
    predict(project, photos / "good", output=str(out))
    assert set(table_of(out)["decision"]) <= {"good", "anomalous"}


KILLED = """
import os, signal, sys
from discrepancy.pipelines.predict import nodes
from discrepancy.prediction import output
written = []
def write(self, prediction, *, scratch, whole=output.PictureWriter.write):
    whole(self, prediction, scratch=scratch)
    written.append(prediction.name)
    if len(written) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
output.PictureWriter.write = write
sys.argv = ["kedro", "run", "--pipelines=predict", "--params=" + sys.argv[1]]
from kedro.framework.cli.cli import main
main()
"""


def test_killed_and_started_again_it_ends_as_if_unbroken(trained, photos, tmp_path, zygote):
    project, _ = trained
    predict(project, photos, output=str(tmp_path / "whole"))
    params = f"dataset=folder,category=disc,image_size=96,method=padim,input={photos},output={tmp_path}/out"
    params += ",predict.batch_size=2,device=cpu"
    command = [sys.executable, "-c", KILLED, params]
    with zygote.popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as killed:
        said = killed.communicate(timeout=300)[1]
    assert killed.returncode == -signal.SIGKILL, said
    done = (tmp_path / "out/journal.jsonl").read_text().splitlines()[1:]
    assert 1 <= len(done) < 11 and not (tmp_path / "out/predictions.csv").exists()
    predict(project, photos, output=str(tmp_path / "out"))
    assert_same(table_of(tmp_path / "out"), table_of(tmp_path / "whole"))
    assert not list((tmp_path / "out").rglob(".unfinished-*"))
    assert {json.loads(line)["file"] for line in done} <= set(table_of(tmp_path / "out")["file"])


def test_the_folder_follows_from_the_photographs(trained, photos):
    project, _ = trained
    predict(project, photos / "good", predict={"overlays": False, "page": False})
    (table,) = project.glob("data/07_model_output/folder/disc/padim/predictions/good-*/predictions.csv")
    assert pd.read_csv(table)["file"].tolist() == ["000.png", "001.png", "002.png"]
    assert {path.name for path in table.parent.iterdir() if path.is_dir()} == set()


def test_an_earlier_version_of_the_detector(trained, photos, tmp_path):
    """The newest counts unless another is asked for: a later one, with other thresholds, changes nothing then."""
    project, _ = trained
    folder = project / "data/06_models/folder/disc/padim/detector"
    (version,) = (path.name for path in folder.iterdir())
    later = folder / "2999-01-01T00.00.00.000Z"
    try:
        shutil.copytree(folder / version, later)
        card = later / "detector/card.json"
        values = json.loads(card.read_text())
        values["thresholds"]["image"]["value"] = 1e9
        card.write_text(json.dumps(values))
        predict(project, photos / "scratch", output=str(tmp_path / "newest"))
        predict(project, photos / "scratch", output=str(tmp_path / "old"), versions={"predict.detector": version})
        with pytest.raises(DatasetError, match=rf"no version 2020; the latest there are 2999.*, {version}"):
            predict(project, photos / "scratch", versions={"predict.detector": "2020"})
    finally:
        shutil.rmtree(later)
    assert set(table_of(tmp_path / "newest")["threshold"]) == {1e9}
    assert 1e9 not in set(table_of(tmp_path / "old")["threshold"])


def test_a_detector_from_elsewhere(trained, photos, tmp_path):
    project, scores = trained
    shutil.copytree(project / "data/06_models/folder/disc/padim/detector", tmp_path / "moved")
    other = make_project(tmp_path / "other")
    (folder,) = (tmp_path / "moved").glob("*/detector")
    predict(other, photos / "good", category="nothing", detector=str(folder), output=str(tmp_path / "out"))
    expected = scores[scores["image"].str.contains("good")]["score"]
    np.testing.assert_allclose(table_of(tmp_path / "out")["score"].astype(float), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"input": ""}, "input: nothing given"),
        ({"input": "/nowhere"}, "/nowhere: there is nothing"),
        ({"category": "other"}, "other/padim/detector: no detector; expected a training"),
        ({"detector": "/nowhere"}, "/nowhere: no detector"),
        ({"method": "pdim"}, "method: 'pdim' is not known"),
    ],
)
def test_what_is_missing_is_said(trained, photos, params, said):
    project, _ = trained
    with pytest.raises(Exception, match=said):
        predict(project, **({"photos": photos} | params))


def test_only_unreadable_files_end_with_exit_code_2(trained, photos, tmp_path):
    project, _ = trained
    with pytest.raises(UnreadableError, match=r"none of 1 photographs could be read.*text\.png") as error:
        predict(project, photos / "text.png", output=str(tmp_path / "out"))
    assert error.value.exit_code == 2
    assert table_of(tmp_path / "out")["decision"].tolist() == ["unreadable"]
