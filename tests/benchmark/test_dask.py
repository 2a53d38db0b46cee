"""A real scheduler and two workers, one of them killed in the middle of a trial: nothing lost, nothing twice."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import chdir, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from discrepancy.benchmark.launch import LOG
from discrepancy.benchmark.remote import _key, run_on_dask
from discrepancy.benchmark.store import TrialStore
from discrepancy.benchmark.trial import TrialSpec
from discrepancy.cli import benchmark
from discrepancy.dask_workers import WorkerInfo, check_workers
from discrepancy.errors import InputError
from tests.conftest import make_project, write_part

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
def cluster(tmp_path, zygote):
    """Address of a scheduler, and two workers, whose trials are forked."""
    with started_cluster(tmp_path, zygote.popen, "--no-nanny") as found:
        yield found


@pytest.fixture
def cluster_as_documented(tmp_path):
    """Address of a scheduler that gives a trial up with its first worker, and two workers, each with its nanny."""
    with started_cluster(tmp_path, subprocess.Popen, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as found:
        yield found


@contextmanager
def started_cluster(tmp_path, start, *options, **environment):
    """A scheduler and two workers, each in a process group of its own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    host = ["--host", "127.0.0.1", "--no-dashboard"]
    started = [
        start(
            [sys.executable, "-m", "dask", *command],
            stdout=(tmp_path / f"{number}.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=tmp_path,
            env=os.environ | environment,
        )
        for number, command in enumerate(
            [
                ["scheduler", *host, "--port", address.rpartition(":")[2]],
                *[["worker", address, *host, *options, "--nthreads", "1", "--name", name] for name in ("one", "two")],
            ]
        )
    ]
    try:
        yield address, started[1:]
    finally:
        for process in started:
            end(process)


def end(worker):
    """Kill a worker and all that it started."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def arguments(photographs, *more, epochs):
    params = f"dataset=folder,data_root={photographs},image_size=64,reporting.segmentations=false"
    params += f",dfr.epochs={epochs},dfr.latent_dim=4,dfr.checkpoint_every=1,dfr.device=cpu,scoring.device=cpu"
    seeds = ",".join(map(str, SEEDS))
    return ["--methods=dfr", f"--seeds={seeds}", "--name=b", "--threads=1", f"--params={params}", *more]


def trials_of(worker):
    """Process ids of the trials of a worker, and where each writes what it says."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines()[1:])
    found = {worker.pid}
    for _ in range(4):
        found |= {pid for pid, parent in parents.items() if parent in found}
    logs = {pid: Path(os.path.realpath(f"/proc/{pid}/fd/1")) for pid in found}
    return {pid: log for pid, log in logs.items() if log.name == LOG}


def test_a_worker_is_killed_in_the_middle(project, photographs, cluster, tmp_path, zygote, forked_trials):
    address, workers = cluster
    store = TrialStore(project / "data/08_reporting/benchmark/b")
    running = start(zygote.popen, project, arguments(photographs, f"--scheduler={address}", epochs=60))
    seed = next(part for part in wait_for_a_checkpoint(store, running).parts if part.startswith("seed_"))
    (victim,) = [worker for worker in workers if seed in {log.parent.name for log in trials_of(worker).values()}]
    trials = trials_of(victim)
    victim.kill()  # and nothing else: its trial has to notice by itself
    output = running.communicate(timeout=400)[0]
    assert running.returncode == 0, output
    assert not any(_alive(pid) for pid in trials)

    table = store.table()
    assert table["state"].tolist() == ["done"] * 2 and sorted(table["seed"]) == list(SEEDS)
    assert "resumed after epoch" in (store.root / f"dfr/folder/disc/{seed}/run.log").read_text()
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "discrepancy"]
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    statuses = sorted(run.info.status for run in children)
    assert statuses == ["FINISHED"] * 2 + ["KILLED"] and not any(run.info.status == "RUNNING" for run in runs)

    # A trial alone, on this machine, ends with the very same numbers.
    other = make_project(tmp_path / "other")
    bootstrap_project(other)
    alone = arguments(photographs, epochs=60)
    alone[1] = f"--seeds={seed.removeprefix('seed_')}"
    with chdir(other):
        result = CliRunner().invoke(benchmark, alone)
    assert result.exit_code == 0, result.output
    (expected,) = TrialStore(other / "data/08_reporting/benchmark/b").results()
    found = store.read(f"dfr/folder/disc/{seed}")
    for name, value in expected["metrics"].items():
        assert name in TIMED or found["metrics"][name] == value, name


def start(popen, project, options):
    """A benchmark in a process of its own."""
    command = [sys.executable, "-m", "kedro", "benchmark", *options]
    return popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def endless(photographs, address, *, seeds):
    """Options of a benchmark of trials that do not end."""
    given = arguments(photographs, f"--scheduler={address}", epochs=40000)
    given[1] = f"--seeds={seeds}"
    return given


def wait_for_a_checkpoint(store, running):
    """Path of the first trial's checkpoint, once there is one."""
    deadline = time.monotonic() + 240
    while not (there := list(store.root.glob("*/*/*/*/work/06_models/folder/disc/dfr/checkpoint.pt"))):
        if running.poll() is not None or time.monotonic() > deadline:
            running.kill()
            pytest.fail(running.communicate()[0])
        time.sleep(0.02)
    return there[0]


def test_an_interrupted_benchmark_stops_its_cells(project, photographs, cluster, zygote):
    address, workers = cluster
    store = TrialStore(project / "data/08_reporting/benchmark/b")
    running = start(zygote.popen, project, endless(photographs, address, seeds="0,1,2"))
    wait_for_a_checkpoint(store, running)
    trials = [pid for worker in workers for pid in trials_of(worker)]
    running.send_signal(signal.SIGINT)
    output = running.communicate(timeout=60)[0]
    assert running.returncode != 0
    assert trials and not any(_alive(pid) for pid in trials), output
    assert store.table()["state"].tolist() == ["missing"] * 3
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "discrepancy"]
    assert "RUNNING" not in {run.info.status for run in client.search_runs([experiment.experiment_id])}


def test_a_trial_whose_workers_died_too_often_is_failed(project, photographs, cluster_as_documented):
    address, workers = cluster_as_documented
    store = TrialStore(project / "data/08_reporting/benchmark/b")
    running = start(subprocess.Popen, project, endless(photographs, address, seeds="0"))
    wait_for_a_checkpoint(store, running)
    ((victim, trials),) = [(worker, trials) for worker in workers if (trials := trials_of(worker))]
    end(victim)
    output = running.communicate(timeout=60)[0]
    assert not any(_alive(pid) for pid in trials)
    assert running.returncode == 1 and "seed 0: failed: KilledWorker" in output, output
    (result,) = store.results()
    assert result["state"] == "failed" and "KilledWorker" in result["reason"]
    assert "KilledWorker" in (store.root / "page/index.html").read_text()


class Workers:
    """A client whose workers answer, or fail, as they are told."""

    def __init__(self, answer):
        self.answer = answer

    def wait_for_workers(self, *_, **__):
        pass

    def run(self, *_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"tcp://a:1": self.answer}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (WorkerInfo("a", False, version("discrepancy")), "worker tcp://a:1 on a does not see"),
        (WorkerInfo("a", True, "0.0.0"), "on a has discrepancy 0.0.0, this machine"),
        (ModuleNotFoundError("No module named 'discrepancy'"), "cannot begin: No module named 'discrepancy'"),
    ],
)
def test_workers_that_cannot_run_trials_are_refused(tmp_path, answer, said):
    folder = tmp_path / "data/b"
    with pytest.raises(InputError, match=said):
        check_workers(Workers(answer), folder, timeout=1)
    check_workers(Workers(WorkerInfo("a", True, version("discrepancy"))), folder, timeout=1)
    assert not list(folder.iterdir())


def test_projects_and_benchmarks_do_not_get_each_others_results():
    spec = TrialSpec("/p", "data/b", "dfr/f/disc/seed_0", "f", "disc", "dfr", 0, {}, None, 1, "print", "run")
    others = [replace(spec, project="/q"), replace(spec, store="data/c"), replace(spec, parent="other")]
    assert len({_key(one) for one in (spec, *others)}) == 4 and _key(spec) == _key(replace(spec))


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_scheduler_that_does_not_answer(project, photographs, monkeypatch):
    monkeypatch.setattr(run_on_dask, "__kwdefaults__", {"timeout": 0.5})
    bootstrap_project(project)
    with chdir(project):
        result = CliRunner().invoke(
            benchmark, arguments(photographs, f"--scheduler=tcp://127.0.0.1:{free_port()}", epochs=1)
        )
    assert result.exit_code == 1 and "does not answer" in result.output and "running Dask scheduler" in result.output
    assert result.output.count("Error:") == 1 and "Traceback" not in result.output
