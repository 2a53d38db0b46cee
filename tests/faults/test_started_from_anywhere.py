"""Commands mean the same from every folder of a project, and run where only the packed project is."""

import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import chdir

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from discrepancy.cli import benchmark, run
from discrepancy.console import quiet
from tests.conftest import make_project, write_part

GIVEN = "--params=dataset=folder,category=disc,data_root=docs/photos,image_size=32"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A project in which MLflow has made its database: seconds that one run spends, not each."""
    project = make_project(tmp_path_factory.mktemp("anywhere") / "project")
    write_part(project / "docs/photos/disc", train=4, good=1, bad=1, side=32)
    assert invoke(run, project, ".", "--pipelines=ingestion", GIVEN).exit_code == 0
    return project


@pytest.fixture
def project(shared):
    shutil.rmtree(shared / "data")
    yield shared
    (shared / "data").mkdir(exist_ok=True)


def invoke(command, project, folder, *options):
    bootstrap_project(project)
    with chdir(project / folder):
        return CliRunner().invoke(command, list(options))


@pytest.mark.parametrize("folder", [".", "docs"])
def test_relative_paths_are_those_from_the_project(project, folder):
    result = invoke(run, project, folder, "--pipelines=ingestion", GIVEN)
    assert result.exit_code == 0, result.output
    assert (project / "data/02_intermediate/folder/disc/samples.csv").is_file()
    assert (f"those from the project, {project}" in result.output) == (folder == "docs")


@pytest.mark.parametrize("command", [run, benchmark])
def test_a_path_from_where_one_stands_is_refused_with_the_one_that_is_meant(project, command):
    result = invoke(command, project, "docs", "--params=dataset=folder,category=disc,data_root=photos")
    assert result.exit_code == 1 and f"expected data_root={project / 'docs/photos'}" in result.output


def test_home_is_the_home_folder(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(project / "docs/photos", tmp_path / "home/photos")
    params = "--params=dataset=folder,category=disc,data_root=~/photos,data_folder=$HOME/out,image_size=32"
    result = invoke(run, project, ".", "--pipelines=ingestion", params)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "home/out/02_intermediate/folder/disc/samples.csv").is_file()
    assert not (project / "~").exists() and not (project / "data").exists()


def test_commas_in_the_path_of_photographs(project, tmp_path):
    shutil.copytree(project / "docs/photos", tmp_path / "a, b")
    for value in (rf"{tmp_path}/a\, b", f'"{tmp_path}/a, b"'):
        options = [f"--params=data_root={value},image_size=32", "--params=dataset=folder,category=disc"]
        result = invoke(run, project, ".", "--pipelines=ingestion", *options)
        assert result.exit_code == 0, result.output


def stopped(project, *options):
    result = invoke(run, project, ".", *options, GIVEN)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    (line,) = [line for line in result.output.splitlines() if line.strip()]
    assert not (project / "data/02_intermediate").exists()
    return line


@pytest.mark.parametrize("place", ["data/03_primary", "data/07_model_output/folder", "data/08_reporting"])
def test_a_folder_that_cannot_be_written_stops_a_run_before_its_first_step(project, place):
    (project / place).parent.mkdir(parents=True)
    (project / place).write_text("a file where a folder should be")
    assert f"{project / place}: is a file; expected a folder" in stopped(project)


@pytest.mark.parametrize(
    ("place", "said"), [("mlflow.db", "MLflow's database: file is not a database"), ("mlartifacts", "mlartifacts: ")]
)
def test_mlflows_files_that_cannot_be_written_stop_a_run_before_its_first_step(project, place, said, tmp_path):
    if (project / place).exists():
        (project / place).rename(tmp_path / "kept")
    (project / place).write_text("neither a database nor a folder")
    try:
        assert said in stopped(project)
    finally:
        (project / place).unlink()
        if (tmp_path / "kept").exists():
            (tmp_path / "kept").rename(project / place)


def python(*arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_packed_project_runs_in_an_empty_folder_with_the_packed_configuration(project, tmp_path):
    packed, empty = tmp_path / "pack/conf.tar.gz", tmp_path / "empty"
    packed.parent.mkdir()
    empty.mkdir()
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(project / "conf", "conf", filter=lambda entry: None if "local" in entry.name else entry)
    given = f"--params=dataset=folder,category=disc,data_root={project / 'docs/photos'},image_size=32"
    result = python("-m", "discrepancy", "--pipelines=ingestion", f"--conf-source={packed}", given, folder=empty)
    assert result.returncode == 0, result.stderr
    assert (empty / "data/02_intermediate/folder/disc/samples.csv").is_file()
    assert "Kedro" not in result.stderr and "Warning" not in result.stderr  # the project's own, short lines


def test_outside_of_a_project_a_command_says_where_to_stand(tmp_path):
    with chdir(tmp_path):
        result = CliRunner().invoke(run, [GIVEN])
    assert result.exit_code == 1 and result.output.count("\n") == 1
    assert "is no project" in result.output and "--conf-source" in result.output


def test_the_server_of_the_graph_does_not_warn_of_others_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    quiet()
    quiet()
    assert os.environ["PYTHONWARNINGS"].count("ORJSONResponse") == 1
    program = "import warnings; warnings.warn('ORJSONResponse is deprecated, FastAPI now'); warnings.warn('mine')"
    shown = python("-c", program, folder=tmp_path).stderr
    assert "ORJSONResponse is" not in shown.replace(program, "") and "UserWarning: mine" in shown
