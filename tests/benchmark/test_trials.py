"""Trials in processes of their own: what they leave, what is said of those that fail, and that they are all equal.

Two of them are started as the command starts them; the others are forked, which spares their imports.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kedro.framework.startup import bootstrap_project

from discrepancy.benchmark.configuration import resolved
from discrepancy.benchmark.launch import _running as processes
from discrepancy.benchmark.launch import launch
from discrepancy.benchmark.local import default_threads, default_workers, places_of, run_locally
from discrepancy.benchmark.plan import SharedSettings, Trial
from discrepancy.benchmark.store import TrialStore
from discrepancy.benchmark.tracking import connect
from discrepancy.benchmark.trial import TrialSpec
from tests.conftest import make_project

pytestmark = pytest.mark.usefixtures("forked_trials")

STORE = "data/08_reporting/benchmark/b"
TIMED = {"train_seconds", "images_per_second", "peak_memory_mib"}


def make_spec(project, part, *, seed=0, category="disc", **dfr):
    params = {"data_root": str(part), "image_size": 64}
    params["dfr"] = {"epochs": 1, "latent_dim": 4, "device": "cpu", **dfr}
    params["reporting"] = {"segmentations": False}
    trial = Trial("folder", category, "dfr", seed)
    params["dataset"] = "folder"
    if project.is_dir():
        bootstrap_project(project)
    settings = SharedSettings(resolved(project, None, params) if project.is_dir() else params, 1)
    more = {"params": params, "env": None, "threads": 1, "fingerprint": settings.fingerprint(trial), "parent": None}
    return TrialSpec(str(project), STORE, trial.folder, "folder", category, "dfr", seed, **more)


def numbers(result):
    return {name: value for name, value in result["metrics"].items() if name not in TIMED}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("trials") / "project")


@pytest.fixture(scope="module")
def alone(place, part):
    """A trial that is started as the command starts it."""
    return launch(make_spec(place, part))


def test_a_trial_leaves_its_result_and_its_report(place, part, alone):
    spec = make_spec(place, part)
    store = TrialStore(place / STORE)
    assert alone["state"] == "done" and alone == store.read(spec.folder)
    assert alone["fingerprint"] == spec.fingerprint and alone["seconds"] > 1 and alone["run_id"]
    assert 0 <= alone["metrics"]["image_auroc"] <= 1 and alone["metrics"]["peak_memory_mib"] > 100
    (gallery,) = store.galleries().values()
    assert gallery.is_file() and gallery.is_relative_to(store.work(spec.folder)) and gallery.name == "gallery.png"
    assert not list(store.work(spec.folder).rglob("*.npy"))  # nobody needs the arrays any more
    assert not (place / "data/03_primary").exists() and not (place / "data/06_models").exists()
    assert (place / "data/04_feature/cache").is_dir()  # shared by all runs


def test_trials_in_a_pool_are_equal_to_the_trial_alone(place, part, alone, tmp_path):
    other = make_project(tmp_path / "other")
    connect(other, None)  # two that make MLflow's database at once get in each other's way
    specs = [make_spec(other, part, seed=seed) for seed in (0, 1)]
    results = {spec.seed: result for spec, result in run_locally(specs, workers=2)}
    assert numbers(results[0]) == numbers(alone) != numbers(results[1])


def test_a_trial_that_fails_says_why_and_the_others_go_on(place, part):
    specs = [make_spec(place, part, category="nothing"), make_spec(place, part, epochs=0)]
    results = {spec.category: result for spec, result in run_locally(specs, workers=2)}
    assert {result["state"] for result in results.values()} == {"failed"}
    assert "Category 'nothing' was not found" in results["nothing"]["reason"]
    assert "epochs" in results["disc"]["reason"] and "Traceback" not in results["disc"]["reason"]
    assert "Traceback" in (place / STORE / specs[0].folder / "run.log").read_text()


def running(spec, marker):
    """The process of the trial in a state of its own, once `marker` exists."""
    deadline = time.monotonic() + 120
    while not list((Path(spec.project) / spec.store / spec.folder).glob(marker)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children():
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return {int(pid): int(parent) for pid, parent, command in rows if "discrepancy.benchmark.trial" in command}


def test_a_killed_trial_is_failed_and_goes_on_from_its_checkpoint(place, part):
    spec = make_spec(place, part, seed=7, epochs=40, checkpoint_every=1)
    found = {}
    thread = threading.Thread(target=lambda: found.update(launch(spec)))
    thread.start()
    running(spec, "work/06_models/folder/disc/dfr/checkpoint.pt")
    (process,) = processes.values()
    os.kill(process.pid, signal.SIGKILL)
    thread.join()
    assert found["state"] == "failed" and "ended by SIGKILL, as when memory runs out; see" in found["reason"]
    again = launch(spec)
    assert again["state"] == "done"
    assert "resumed after epoch" in (place / STORE / spec.folder / "run.log").read_text()


def test_a_trial_ends_with_the_process_that_started_it(place, part):
    spec = make_spec(place, part, seed=8, epochs=4000)
    code = "import sys; from discrepancy.benchmark.launch import launch; "
    code += "from discrepancy.benchmark.trial import TrialSpec; "
    starter = subprocess.Popen(
        [sys.executable, "-c", code + "launch(TrialSpec.from_json(sys.stdin.read()))"], stdin=subprocess.PIPE, text=True
    )
    starter.stdin.write(spec.to_json())
    starter.stdin.close()
    running(spec, "work/06_models/folder/disc/dfr/checkpoint.pt")
    (trial,) = (pid for pid, parent in children().items() if parent == starter.pid)
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 10
    while trial in children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_that_are_at_one_trial_run_it_once(place, part):
    spec = make_spec(place, part, seed=11)
    found = []
    threads = [threading.Thread(target=lambda: found.append(launch(spec))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0]["state"] == "done" and found[0] == found[1]
    assert len(list((place / STORE / spec.folder / "work/08_reporting/folder/disc/dfr/metrics.json").iterdir())) == 1


def test_who_stops_early_stops_the_trials_that_run(place, part):
    long, short = make_spec(place, part, seed=12, epochs=40000), make_spec(place, part, category="nothing")
    results = run_locally([long, short, make_spec(place, part, seed=13)], workers=2)
    assert next(results)[0] == short
    running(long, "work/06_models/folder/disc/dfr/checkpoint.pt")
    process = processes[place / STORE / long.folder]
    results.close()
    assert process.returncode == -signal.SIGKILL and not processes
    store = TrialStore(place / STORE)
    assert store.read(long.folder) is None  # missing, not failed: the next start goes on with it
    again = launch(make_spec(place, part, seed=12, epochs=40000, latent_dim=0))
    assert again["state"] == "failed" and store.read(long.folder) == again  # it is not taken for stopped


def test_a_folder_that_cannot_be_written_is_a_failed_cell(place, part):
    (place / STORE / "dfr/folder").mkdir(parents=True, exist_ok=True)
    (place / STORE / "dfr/folder/blocked").write_text("a file")
    specs = [make_spec(place, part, category="blocked", seed=seed) for seed in (0, 1)]
    results = [result for _, result in run_locally(specs, workers=1)]  # the second one's turn comes all the same
    assert len(results) == 2
    assert all(result["state"] == "failed" and "Error: " in result["reason"] for result in results)


def test_a_configuration_that_was_changed_meanwhile_is_refused(place, part):
    spec = make_spec(place, part, seed=14)
    path = place / "conf/base/parameters_reporting.yml"
    text = path.read_text()
    assert "worst: 4" in text
    path.write_text(text.replace("worst: 4", "worst: 3"))
    try:
        result = launch(spec)
    finally:
        path.write_text(text)
    assert result["state"] == "failed" and "have other parameters now" in result["reason"]


@pytest.mark.parametrize(
    ("workers", "gpus", "expected"),
    [
        (2, [], [None, None]),
        (1, ["0", "1", "2", "3"], ["0,1,2,3"]),
        (2, ["0", "1", "2", "3"], ["0,1", "2,3"]),
        (3, ["0", "1"], ["0", "1", "0"]),
        (2, ["MIG-1", "5", "7"], ["MIG-1", "5"]),
    ],
)
def test_gpus_are_shared_out(workers, gpus, expected):
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in places_of(workers, gpus)] == expected


def test_gpus_are_handed_out_one_to_each_worker(monkeypatch):
    used, lock, together = [], threading.Lock(), set()

    def pretend(spec, environment):
        gpu = environment["CUDA_VISIBLE_DEVICES"]
        with lock:
            assert gpu not in together
            together.add(gpu)
        time.sleep(0.02)
        with lock:
            together.remove(gpu)
            used.append(gpu)
        return {}

    monkeypatch.setattr("discrepancy.benchmark.local.launch", pretend)
    specs = [make_spec(Path("/p"), Path("/d"), seed=seed) for seed in range(9)]
    assert len(list(run_locally(specs, workers=3, gpus=["0", "1", "MIG-2"]))) == 9
    assert set(used) == {"0", "1", "MIG-2"}
    assert default_workers(["0", "1", "2", "3"], processes=2) == 2 and default_workers(["0"], processes=2) == 1
    assert default_workers([]) == 1 and default_workers(["0", "1"]) == 2 and default_threads(10**6) == 1


def test_a_task_survives_the_journey():
    spec = make_spec(Path("/p"), Path("/größe, 1"))
    assert TrialSpec.from_json(spec.to_json()) == spec
