"""A copy of the project to run in, small data, and threads that wait in peace."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import chdir
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from tests.quick_configuration import parse_once, wire_once
from tests.zygote import Zygote

os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
# Before PyTorch is imported, here and in what tests start: threads that spin while they wait take cores from others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

PROJECT = Path(__file__).parents[1]
parse_once()
wire_once()


SESSIONS = ("benchmark", "faults", "notebooks", "pipelines", "tracking")
"""Folders whose tests start Kedro sessions or processes; `make test-fast` leaves them out."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(PROJECT / "tests").parts[0] in SESSIONS:
            item.add_marker(pytest.mark.sessions)


@pytest.fixture(scope="session")
def part(tmp_path_factory):
    """Photographs of a made-up part in MVTec AD's layout: 10 good to train on, 3 good and 3 scratched to test."""
    root = tmp_path_factory.mktemp("photographs")
    write_part(root / "disc")
    return root


def write_part(folder, *, train=10, good=3, bad=3, side=96):
    """Grey discs on a dark table; the bad ones have a bright scratch."""
    rng = np.random.default_rng(0)
    for split, count in (("train/good", train), ("test/good", good), ("test/scratch", bad)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            picture = rng.normal(50, 4, (side, side, 3))
            centre = tuple(int(v) for v in rng.integers(side // 2 - 4, side // 2 + 5, 2))
            cv2.circle(picture, centre, side // 3, (150.0, 140.0, 130.0), -1, cv2.LINE_AA)
            if "scratch" in split:
                mask = np.zeros((side, side), np.uint8)
                start = (centre[0] - 10, centre[1] - 8)
                cv2.line(mask, start, (centre[0] + 12, centre[1] + 9), 255, 4)
                picture[mask > 0] = (250, 245, 160)
                (folder / "ground_truth/scratch").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / f"ground_truth/scratch/{i:03d}_mask.png")
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / split / f"{i:03d}.png")


@pytest.fixture
def project(tmp_path):
    """The project's configuration in a folder of its own; the package is the installed one."""
    return make_project(tmp_path / "project")


@cache
def empty_database():
    """MLflow's database before any run: making one takes seconds."""
    from mlflow import MlflowClient

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment("discrepancy", (folder / "mlartifacts").as_uri())
    return folder / "mlflow.db"


def make_project(folder, *, database=True):
    """Copy what Kedro needs to run; with the database that the first run would make, unless that is tested."""
    folder.mkdir()
    if database:
        shutil.copy(empty_database(), folder)
    shutil.copytree(PROJECT / "conf", folder / "conf")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    return folder


@pytest.fixture(scope="session")
def zygote():
    """`zygote.popen` starts processes that have everything imported already."""
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def forked_trials(zygote, monkeypatch):
    """The trials that this process starts have everything imported already."""
    monkeypatch.setattr("discrepancy.benchmark.launch.subprocess", zygote.subprocess)


def kedro(project, *arguments, start=subprocess.Popen, timeout=300):
    """`kedro ...` in a process of its own, as a user types it; `start=zygote.popen` spares the imports."""
    command = [sys.executable, "-m", "kedro", *arguments]
    with start(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


WITHOUT_REPORT = ["ingestion", "training", "scoring"]
"""Stages of a run whose figures and page nobody looks at: they take a third of its time."""


def run_method(method, project, part, *, env=None, stages=None, seed=0, reporting=None, scoring=None, **parameters):
    """A method's whole pipeline (or stages of it) on the part, in this process; returns the run's version."""
    bootstrap_project(project)
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "image_size": 96, "seed": seed}
    for name in ("image_size", "crop", "weights", "preset", "register"):
        if name in parameters:
            given[name] = parameters.pop(name)
    given |= {method: parameters, "reporting": reporting or {}, "scoring": scoring or {}}
    with chdir(project), KedroSession.create(project_path=project, env=env, runtime_params=given) as session:
        session.run(pipeline_names=[method], namespaces=stages)
        return session.session_id
