"""The packed project: the wheel alone, with the packed configuration, runs a method in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT, write_part

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The folder `dist` that `kedro package` makes; the wheel is built with what is installed, as nothing is loaded."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(PROJECT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(PROJECT / "conf", source / "conf")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    pack = ["tar", "--exclude=local/*.yml", "-czf", "dist/conf-discrepancy.tar.gz", f"--directory={source}", "conf"]
    subprocess.run(pack, cwd=source, check=True)
    return source / "dist"


@pytest.fixture(scope="module")
def environment(packed, tmp_path_factory):
    """A virtual environment with the wheel; the libraries are those of this one, the package is not."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (wheel,) = packed.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(folder / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


def run(environment, folder, *command):
    """A command of the environment, in a folder, with nothing that points at this project."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    program = [str(environment / "bin" / command[0]), *command[1:]]
    return subprocess.run(program, cwd=folder, env=variables, capture_output=True, text=True, timeout=900, check=False)


def test_the_wheel_holds_everything_that_is_read_at_run_time(packed):
    (wheel,) = packed.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    package = PROJECT / "src/discrepancy"
    there = {path.relative_to(PROJECT / "src") for path in package.rglob("*") if path.is_file()}
    assert {path for path in there if "__pycache__" not in path.parts} <= names


def test_the_package_is_that_of_the_wheel(environment, tmp_path):
    where = run(environment, tmp_path, "python", "-c", "import discrepancy; print(discrepancy.__file__)")
    assert where.stdout.startswith(str(environment)), where.stderr


@pytest.mark.parametrize(
    ("command", "part"),
    [(["discrepancy", "--pipelines=dfc"], "folder/disc"), (["python", "-m", "discrepancy", "run"], "demo/cable")],
    ids=["console script, own photographs", "module, the demo that is rendered first"],
)
def test_the_wheel_runs_a_method_in_an_empty_folder(packed, environment, tmp_path, command, part):
    dataset, category = part.split("/")
    folder = tmp_path / "empty"
    folder.mkdir()
    params = f"dataset={dataset},category={category},image_size=96,dfc.epochs=2,dfc.width=8"
    if dataset == "folder":
        write_part(tmp_path / "photographs/disc")
        params += f",data_root={tmp_path}/photographs"
    options = [f"--conf-source={packed}/conf-discrepancy.tar.gz", f"--params={params}"]
    ran = run(environment, folder, *command, *options)
    assert ran.returncode == 0 and "Traceback" not in ran.stderr, ran.stdout + ran.stderr
    (metrics,) = folder.glob(f"data/08_reporting/{part}/dfc/metrics.json/*/metrics.json")
    assert 0 <= json.loads(metrics.read_text())["image_auroc"] <= 1
