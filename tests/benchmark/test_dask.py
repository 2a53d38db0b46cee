"""A real scheduler and two workers, one of them killed in the middle of a cell: nothing lost, nothing twice."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import chdir

import mlflow
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from tests.conftest import make_project, write_part

from discrepancy.benchmark.store import CellStore
from discrepancy.cli import benchmark

pytest.importorskip("distributed")

TIMED = {"train_seconds", "images_per_second", "peak_memory_mib"}
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    write_part(root / "disc", train=6, good=2, bad=2, side=64)
    return root


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and two workers, each with its nanny in a process group of its own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    host = ["--host", "127.0.0.1", "--no-dashboard"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            stdout=(tmp_path / f"{number}.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=tmp_path,
        )
        for number, command in enumerate(
            [
                ["scheduler", *host, "--port", address.rpartition(":")[2]],
                *[["worker", address, *host, "--nthreads", "1", "--name", name] for name in ("one", "two")],
            ]
        )
    ]
    yield address, started[1:]
    for process in started:
        end(process)


def end(worker):
    """Kill a worker, its nanny, and nothing else: what it started has to notice by itself."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def arguments(photographs, *more, epochs):
    params = f"dataset=folder,data_root={photographs},image_size=64,reporting.segmentations=false"
    params += f",dfr.epochs={epochs},dfr.latent_dim=4,dfr.checkpoint_every=1,dfr.device=cpu,scoring.device=cpu"
    seeds = ",".join(map(str, SEEDS))
    return ["--methods=dfr", f"--seeds={seeds}", "--name=b", "--threads=1", f"--params={params}", *more]


def descendants(root):
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    found, cells = {root}, []
    for _ in range(4):
        found |= {int(pid) for pid, parent, _ in rows if int(parent) in found}
    for pid, _, command in rows:
        if int(pid) in found and "discrepancy.benchmark.cell" in command:
            cells.append(int(pid))
    return cells


def test_a_worker_is_killed_in_the_middle(project, photographs, cluster, tmp_path):
    address, workers = cluster
    store = CellStore(project / "data/08_reporting/benchmark/b")
    command = [sys.executable, "-m", "kedro", "benchmark", *arguments(photographs, f"--scheduler={address}", epochs=60)]
    running = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while not (there := list(store.root.glob("*/*/*/*/work/06_models/folder/disc/dfr/checkpoint.pt"))):
        assert running.poll() is None and time.monotonic() < deadline, running.stdout.read()
        time.sleep(0.02)
    seed = next(part for part in there[0].parts if part.startswith("seed_"))
    (victim,) = [worker for worker in workers if any(_runs(pid, seed) for pid in descendants(worker.pid))]
    cells = descendants(victim.pid)
    end(victim)
    output = running.communicate(timeout=400)[0]
    assert running.returncode == 0, output
    assert not any(_alive(pid) for pid in cells)

    table = store.table()
    assert table["state"].tolist() == ["done"] * 2 and sorted(table["seed"]) == list(SEEDS)
    assert "resumed after epoch" in (store.root / f"dfr/folder/disc/{seed}/run.log").read_text()
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "discrepancy"]
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    statuses = sorted(run.info.status for run in children)
    assert statuses == ["FINISHED"] * 2 + ["KILLED"] and not any(run.info.status == "RUNNING" for run in runs)

    # A cell alone, on this machine, ends with the very same numbers.
    other = make_project(tmp_path / "other")
    bootstrap_project(other)
    alone = arguments(photographs, epochs=60)
    alone[1] = f"--seeds={seed.removeprefix('seed_')}"
    with chdir(other):
        result = CliRunner().invoke(benchmark, alone)
    assert result.exit_code == 0, result.output
    (expected,) = CellStore(other / "data/08_reporting/benchmark/b").results()
    found = store.read(f"dfr/folder/disc/{seed}")
    for name, value in expected["metrics"].items():
        assert name in TIMED or found["metrics"][name] == value, name


def _runs(pid, seed):
    """Whether this process works on the cell of this seed: its log is open."""
    try:
        return any(f"/{seed}/" in os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_scheduler_that_does_not_answer(project, photographs):
    bootstrap_project(project)
    with chdir(project):
        result = CliRunner().invoke(
            benchmark, arguments(photographs, f"--scheduler=tcp://127.0.0.1:{free_port()}", epochs=1)
        )
    assert result.exit_code == 1 and "does not answer" in result.output and "running Dask scheduler" in result.output
    assert result.output.count("Error:") == 1 and "Traceback" not in result.output
