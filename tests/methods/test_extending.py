"""The method of `docs/extending.md`, installed as a package of its own, is a method like any other."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from discrepancy.methods.base import Method
from discrepancy.methods.registry import BUILT_IN, METHODS
from tests.conftest import PROJECT, make_project

EXAMPLE = PROJECT / "docs/example_method"
PART = "dataset=folder,category=disc,image_size=96"


@pytest.fixture(scope="module")
def run(tmp_path_factory, part):
    """A project with the example's parameters, and `kedro ...` in it with the example installed."""
    folder = tmp_path_factory.mktemp("extended")
    source = shutil.copytree(EXAMPLE, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", folder / "installed", source], check=True)
    project = make_project(folder / "project")
    shutil.copy(source / "conf/parameters_feature_mean.yml", project / "conf/base")
    path = os.pathsep.join([str(folder / "installed"), os.environ.get("PYTHONPATH", "")])

    def kedro(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return kedro, project


def newest(project, name):
    (found,) = (project / "data/08_reporting/folder/disc/feature_mean" / name).glob(f"*/{name}")
    return found


def test_a_run_finds_the_defects_and_ends_with_the_report(run, part):
    kedro, project = run
    result = kedro("run", "--pipelines=feature_mean", f"--params={PART},data_root={part}")
    assert result.returncode == 0, result.stderr
    assert "Feature mean on disc" in result.stdout
    metrics = json.loads(newest(project, "metrics.json").read_text())
    assert metrics["image_auroc"] == 1 and metrics["pixel_auroc"] > 0.9
    assert newest(project, "gallery.png").stat().st_size > 10_000
    assert not (project / "data/08_reporting/folder/disc/feature_mean/loss.png").exists()
    wrong = kedro("run", "--pipelines=feature_mean", "--params=feature_mean.flor=1")
    assert wrong.returncode == 1 and "did you mean 'floor'?" in wrong.stderr


def test_it_is_compared_in_a_benchmark(run, part):
    kedro, project = run
    options = ["--methods=feature_mean", "--categories=disc", "--name=b"]
    result = kedro("benchmark", *options, f"--params=dataset=folder,image_size=96,data_root={part}")
    assert result.returncode == 0, result.stderr + result.stdout
    assert "Feature mean" in result.stdout
    (page,) = (project / "data/08_reporting/benchmark/b").glob("**/*.html")
    assert "Feature mean on disc" in page.read_text() or "Feature mean" in page.read_text()


def test_the_document_counts_what_is_touched():
    files = {
        path.relative_to(EXAMPLE).as_posix()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and "__pycache__" not in str(path)
    }
    assert files == {
        "pyproject.toml",
        "conf/parameters_feature_mean.yml",
        "src/feature_mean/__init__.py",
        "src/feature_mean/method.py",
    }
    assert len((EXAMPLE / "src/feature_mean/method.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_says_who_it_is(name):
    method = METHODS[name]
    assert issubclass(method, Method) and method.name == name and method.title
    with pytest.raises(TypeError, match="abstract"):
        Method(None, None, None)
