"""The method of `docs/extending.md`, installed as a package of its own, is a method like any other."""

import json
import re
import subprocess
import sys
from functools import partial

import pytest

from discrepancy.methods.base import Method
from discrepancy.methods.registry import BUILT_IN, METHODS
from tests.conftest import PROJECT, kedro, make_project
from tests.zygote import Zygote

pytestmark = pytest.mark.sessions

DOCUMENT = PROJECT / "docs/extending.md"
PACKAGE = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "mypackage"
version = "0.1"
"""
PART = "dataset=folder,category=disc,image_size=96"


def block(language):
    """The first code block of a language in the document."""
    return re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory, part):
    """A project with the example's parameters, and `kedro ...` in it with the example installed."""
    folder = tmp_path_factory.mktemp("extended")
    source = folder / "source"
    (source / "mypackage").mkdir(parents=True)
    (source / "mypackage/__init__.py").touch()
    (source / "mypackage/zscore.py").write_text(block("python"))
    (source / "pyproject.toml").write_text(PACKAGE + block("toml"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", folder / "installed", source], check=True)
    project = make_project(folder / "project")
    (project / "conf/base/parameters_zscore.yml").write_text(block("yaml"))
    zygote = Zygote(PYTHONPATH=str(folder / "installed"))
    yield partial(kedro, project, start=zygote.popen), project
    zygote.close()


def newest(project, name):
    (found,) = (project / "data/08_reporting/folder/disc/zscore" / name).glob(f"*/{name}")
    return found


def test_a_run_finds_the_defects_and_ends_with_the_report(run, part):
    command, project = run
    result = command("run", "--pipelines=zscore", f"--params={PART},data_root={part}")
    assert result.returncode == 0, result.stderr
    assert "z-score on disc" in result.stdout
    metrics = json.loads(newest(project, "metrics.json").read_text())
    assert metrics["image_auroc"] == 1 and metrics["pixel_auroc"] > 0.9
    assert newest(project, "gallery.png").stat().st_size > 10_000
    assert not (project / "data/08_reporting/folder/disc/zscore/loss.png").exists()
    wrong = command("run", "--pipelines=zscore", "--params=zscore.smothing=1")
    assert wrong.returncode == 1 and "did you mean 'smoothing'?" in wrong.stderr


def test_it_is_compared_in_a_benchmark(run, part):
    command, project = run
    options = ["--methods=zscore", "--categories=disc", "--name=b"]
    result = command("benchmark", *options, f"--params=dataset=folder,image_size=96,data_root={part}")
    assert result.returncode == 0, result.stderr + result.stdout
    assert "z-score" in result.stdout
    page = project / "data/08_reporting/benchmark/b/page/index.html"
    assert "z-score" in page.read_text()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_says_who_it_is(name):
    method = METHODS[name]
    assert issubclass(method, Method) and method.name == name and method.title
    with pytest.raises(TypeError, match="abstract"):
        Method(None, None, None)
