"""MLflow's runs end as what happened to them, and its files lie in the project, wherever that is."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from discrepancy.errors import InputError
from discrepancy.tracking.live import FOLDER, end_killed
from tests.conftest import make_project
from tests.faults.conftest import start

LIVING = """
import signal, sys, time
from pathlib import Path
from mlflow import MlflowClient
from discrepancy.tracking.live import LiveRun
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script starts in the background
project = Path(sys.argv[1])
run = LiveRun(project, MlflowClient(f"sqlite:///{project}/mlflow.db"), "1", {})
print(run.run_id, flush=True)
time.sleep(60)
"""


def client(project):
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def runs(project):
    return client(project).search_runs(["1"])


def seen(project):
    """Of the project in `once`: one run of which all artifacts can be read."""
    (run,) = runs(project)
    return {item.path for item in client(project).list_artifacts(run.info.run_id)}


@contextmanager
def living(zygote, project):
    """A process with a run of its own."""
    command = [sys.executable, "-c", LIVING, str(project)]
    process = zygote.popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_as_killed_at_once(finished, zygote, ending):
    project, _ = finished
    with living(zygote, project) as (process, run_id):
        assert client(project).get_run(run_id).info.status == "RUNNING"
        process.send_signal(ending)
        code = process.wait()
    assert client(project).get_run(run_id).info.status == "KILLED" and not list((project / FOLDER).iterdir())
    assert code == (143 if ending == signal.SIGTERM else -signal.SIGINT)


def test_a_killed_run_ends_as_killed_at_the_next_start_and_a_living_one_goes_on(finished, zygote):
    project, _ = finished
    with living(zygote, project) as (killed, dead), living(zygote, project) as (_, alive):
        killed.kill()
        killed.wait()
        assert client(project).get_run(dead).info.status == "RUNNING"
        assert end_killed(project) == 1
        assert client(project).get_run(dead).info.status == "KILLED"
        assert client(project).get_run(alive).info.status == "RUNNING"
        assert len(list((project / FOLDER).iterdir())) == 1


def test_the_next_run_of_the_project_ends_killed_ones(finished, zygote, part):
    project, _ = finished
    with living(zygote, project) as (process, run_id):
        process.kill()
        process.wait()
    start(project, part, "ingestion")
    assert client(project).get_run(run_id).info.status == "KILLED"


def test_a_killed_run_is_found_after_its_project_has_moved(finished, zygote):
    project, _ = finished
    with living(zygote, project) as (process, run_id):
        process.kill()
        process.wait()
    moved = Path(shutil.move(project, project.with_name("moved")))
    assert end_killed(moved) == 1 and client(moved).get_run(run_id).info.status == "KILLED" and not project.exists()


def test_a_run_killed_before_mlflow_knew_of_it_is_no_obstacle(finished):
    project, _ = finished
    for content in ({}, {"run.json": "{}"}, {"run.json": "{"}):
        folder = project / FOLDER / f"run-{len(content)}"
        folder.mkdir(parents=True)
        for name, text in content.items():
            (folder / name).write_text(text)
        assert end_killed(project) == 0 and not folder.exists()


def test_an_error_ends_a_run_as_failed(finished, part, monkeypatch):
    project, _ = finished

    def fails(*_, **__):
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("discrepancy.pipelines.scoring.nodes.calibrated", fails)
        start(project, part, options={"namespaces": ["scoring"]})
    assert sorted(run.info.status for run in runs(project)) == ["FAILED", "FINISHED"]
    assert not list((project / FOLDER).iterdir())


def test_a_run_that_was_interrupted_in_a_notebook_is_not_gone_on_with(finished, part, monkeypatch):
    project, _ = finished

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("discrepancy.pipelines.scoring.nodes.calibrated", interrupted)
        start(project, part, options={"namespaces": ["scoring"]})
    start(project, part, "ingestion")
    assert sorted(run.info.status for run in runs(project)) == ["FINISHED", "FINISHED", "KILLED"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallowed", ["into an error", "altogether"])
def test_an_interruption_that_compiled_code_swallows_is_one(finished, part, monkeypatch, number, swallowed):
    """pybind11 tries the next signature when a conversion raises, whatever it raises."""
    from discrepancy.pipelines.scoring import nodes

    project, _ = finished
    calibrated = nodes.calibrated
    sent = []

    def compiled(*given, **options):
        if not sent:
            sent.append(number)
            with suppress(KeyboardInterrupt, SystemExit):
                os.kill(os.getpid(), number)
                time.sleep(5)
            if swallowed == "into an error":
                raise TypeError("incompatible function arguments")
        return calibrated(*given, **options)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # a shell has what it starts in the background ignore SIGINT
    try:
        with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
            patch.setattr(nodes, "calibrated", compiled)
            start(project, part, options={"namespaces": ["scoring"]})
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert sorted(run.info.status for run in runs(project)) == ["FINISHED", "KILLED"]
    assert not list((project / FOLDER).iterdir())


def test_a_refused_run_and_one_with_nothing_to_do_leave_no_trace(finished, part):
    project, _ = finished
    with pytest.raises(InputError):
        start(project, part, options={"tags": ["reporting"]}, seed=9)
    start(project, part, options={"only_missing_outputs": True})
    assert len(runs(project)) == 1


def test_several_methods_in_one_run_are_refused(finished, part, monkeypatch):
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    project, _ = finished
    bootstrap_project(project)
    monkeypatch.chdir(project)
    given = {"dataset": "folder", "data_root": str(part), "category": "disc"}
    with (
        KedroSession.create(project, runtime_params=given) as session,
        pytest.raises(InputError, match="dfc, dfr in one run"),
    ):
        session.run(pipeline_names=["dfc", "dfr"])
    assert len(runs(project)) == 1


def test_files_move_with_the_project(finished, part):
    project, _ = finished
    before = seen(project)
    moved = Path(shutil.move(project, project.with_name("mo#ved")))
    start(moved, part, "ingestion")
    first, second = sorted(runs(moved), key=lambda run: run.info.start_time)
    assert {item.path for item in client(moved).list_artifacts(first.info.run_id)} == before
    for run in (first, second):
        assert run.info.artifact_uri.startswith(f"{(moved / 'mlartifacts').as_uri()}/"), run.info.artifact_uri
    assert not project.exists()


def test_a_configuration_elsewhere_is_still_this_project_s(finished, part, tmp_path, monkeypatch):
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    project, _ = finished
    bootstrap_project(project)
    monkeypatch.chdir(project)
    conf = shutil.copytree(project / "conf", tmp_path / "elsewhere/conf")
    given = {"dataset": "folder", "data_root": str(part), "category": "disc", "image_size": 96}
    with KedroSession.create(project, runtime_params=given, conf_source=str(conf)) as session:
        session.run(pipeline_names=["ingestion"])
    assert len(runs(project)) == 2 and os.listdir(tmp_path / "elsewhere") == ["conf"]


def test_the_user_s_tracking_address_wins(finished, part, tmp_path, monkeypatch, capsys):
    project, _ = finished
    shutil.copy(project / "mlflow.db", tmp_path / "own.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/own.db")
    for count in (2, 3):  # the second session of a process, too
        start(project, part, options={"tags": ["reporting"], "to_nodes": ["reporting.dfc.summarise"]})
        assert len(MlflowClient(f"sqlite:///{tmp_path}/own.db").search_runs(["1"])) == count
    assert len(runs(project)) == 1
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/own.db" in capsys.readouterr().out


def test_the_first_two_runs_may_start_together(tmp_path, part, zygote):
    project = make_project(tmp_path / "project", database=False)
    arguments = f"--params=dataset=folder,data_root={part},category=disc,image_size=96"
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=ingestion", arguments]
    both = [zygote.popen(command, cwd=project, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n\n".join(said)
    assert sorted(run.info.status for run in runs(project)) == ["FINISHED", "FINISHED"]


def test_a_run_that_is_terminated_in_training_says_so(finished, part, zygote):
    project, _ = finished
    arguments = f"--params=dataset=folder,data_root={part},category=disc,image_size=96,dfc.epochs=5000,dfc.device=cpu"
    silent = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = zygote.popen([sys.executable, "-m", "kedro", "run", arguments], cwd=project, **silent)
    checkpoint = project / "data/06_models/folder/disc/dfc/checkpoint.pt"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.2)
    process.terminate()
    assert process.wait() == 143
    assert sorted(run.info.status for run in runs(project)) == ["FINISHED", "KILLED"]
