"""A whole `kedro run --pipelines=inspect`: what it says, and what it leaves on disk."""

import shutil
from contextlib import chdir

import mlflow
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError

from discrepancy.demo import render_category


def inspect(project, root, **parameters):
    bootstrap_project(project)
    given = {"dataset": "folder", "data_root": str(root), "category": "disc", "image_size": 96, **parameters}
    with chdir(project), KedroSession.create(project_path=project, runtime_params=given) as session:
        session.run(pipeline_names=["inspect"])
        return project / "data/08_reporting/folder/disc/inspect", session.session_id


@pytest.fixture
def photographs(tmp_path):
    """A woven cloth of its own name: no two of its photographs are nearly the same."""
    render_category(tmp_path / "photos", "weave", size=96, train=24, test_good=3, test_defective=7)
    (tmp_path / "photos/weave/.rendered.json").unlink()
    (tmp_path / "photos/weave").rename(tmp_path / "photos/disc")
    return tmp_path / "photos"


def test_a_sound_part(project, photographs, capsys):
    folder, version = inspect(project, photographs)
    said = capsys.readouterr().out
    assert "34 images, 0 other entries; no problem found." in said and "report.html" in said
    assert "mlflow" not in said
    with chdir(project):
        mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
        assert not mlflow.search_runs(search_all_experiments=True, output_format="list")
    page = (folder / "report.html" / version / "report.html").read_text()
    assert "<h1>folder/disc</h1>" in page and "none found" in page and "data:image/png;base64," in page
    assert (folder / "contact.png" / version / "contact.png").is_file()
    files = pd.read_csv(folder / "files.csv" / version / "files.csv")
    assert len(files) == 34 and files["width"].eq(96).all() and files["mask"].notna().sum() == 7
    assert not list(project.glob("data/0[3-7]*"))


def test_problems_are_named_and_nothing_is_refused(project, photographs, capsys):
    disc = photographs / "disc"
    (disc / "train/good/002.png").write_text("hello")
    (disc / "ground_truth/hole/000_mask.png").unlink()
    (disc / "train/good/notes.txt").write_text("x")
    shutil.copy(disc / "train/good/000.png", disc / "test/good/007.png")
    folder, version = inspect(project, photographs)
    said = capsys.readouterr().out
    assert "35 images, 2 other entries; 3 errors; with an error no run begins." in said
    for words in ("disc/train/good/002.png: cannot be read", "disc/test/hole/000.png: no mask", "good/007.png"):
        assert words in said
    problems = pd.read_csv(folder / "problems.csv" / version / "problems.csv")
    assert set(problems["severity"]) == {"error"} and len(problems) == 3
    left = pd.read_csv(folder / "left_out.csv" / version / "left_out.csv")
    assert left["file"].tolist() == ["disc/ground_truth/hole", "disc/train/good/notes.txt"]
    assert "disc/train/good/notes.txt" in (folder / "report.html" / version / "report.html").read_text()


def test_a_crop_is_taken_into_account(project, photographs):
    folder, version = inspect(project, photographs, crop=8)
    problems = pd.read_csv(folder / "problems.csv" / version / "problems.csv")
    assert (
        set(problems["problem"]) == {"defect lost"}
        and problems["detail"].str.contains("8x8 .the centre of 96x96").all()
    )
    with pytest.raises(ParameterValidationError, match="crop is 100x100: expected at most image_size, 96x96"):
        inspect(project, photographs, crop=100)
