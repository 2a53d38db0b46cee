"""`kedro benchmark` as a user types it: what it does, leaves, says and skips; a crash; a trial that fails."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import chdir
from importlib.metadata import version

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from mlflow.utils.validation import _validate_metric_name

from discrepancy.benchmark.command import _note, _refuse_other_settings
from discrepancy.benchmark.configuration import resolved
from discrepancy.benchmark.plan import SharedSettings
from discrepancy.benchmark.store import TrialStore
from discrepancy.benchmark.tracking import headline
from discrepancy.cli import benchmark
from discrepancy.errors import InputError
from discrepancy.locks import file_lock
from discrepancy.methods.registry import METHODS
from tests.conftest import kedro, make_project, write_part

pytestmark = pytest.mark.usefixtures("forked_trials")

FOLDER = "data/08_reporting/benchmark/b"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two parts; the masks of `torn` are missing one, so that no run on it begins."""
    root = tmp_path_factory.mktemp("photographs")
    write_part(root / "disc", train=6, good=2, bad=2, side=64)
    write_part(root / "torn", train=6, good=2, bad=2, side=64)
    (root / "torn/ground_truth/scratch/000_mask.png").unlink()
    return root


def command(photographs, *more, categories="disc", params=""):
    shared = f"dataset=folder,data_root={photographs},image_size=64,dfr.epochs=1,dfr.latent_dim=4"
    options = ["--methods=dfr", f"--categories={categories}", "--name=b", "--threads=1"]
    return [*options, f"--params={shared},reporting.segmentations=false{params}", *more]


def invoke(project, arguments):
    bootstrap_project(project)
    with chdir(project):
        return CliRunner().invoke(benchmark, arguments)


def runs(project):
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "discrepancy"]
    found = client.search_runs([experiment.experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if "mlflow.parentRunId" in run.data.tags]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photographs, zygote):
    """A benchmark with one good and one bad category, run in processes of its own."""
    project = make_project(tmp_path_factory.mktemp("benchmark") / "project")
    return project, kedro(project, "benchmark", *command(photographs, categories="all"), start=zygote.popen)


def test_a_failed_trial_stays_in_the_table_and_the_exit_code_says_so(finished):
    project, result = finished
    assert result.returncode == 1 and result.stderr.count("Error:") == 1 and "Traceback" not in result.stderr
    assert "0 of 2 trials are done" in result.stdout and "dfr         0 done     2 to run" in result.stdout
    assert "benchmark b: 1 done, 1 failed" in result.stdout
    table = TrialStore(project / FOLDER).table().set_index("category")
    assert table["state"].to_dict() == {"disc": "done", "torn": "failed"}
    assert "000.png" in table.loc["torn", "reason"] and "no mask" in table.loc["torn", "reason"]
    page = (project / FOLDER / "page/index.html").read_text()
    assert "no mask" in page and "galleries/" in page
    assert len(list((project / FOLDER / "page/galleries").glob("*.png"))) == 1
    assert "no mask" in (project / FOLDER / "report/tables.md").read_text()
    assert len(pd.read_csv(project / FOLDER / "report/results.csv")) == 2


def test_mlflow_shows_one_group(finished, zygote):
    project, _ = finished
    (parent,), children = runs(project)
    assert parent.data.tags["mlflow.runName"] == "benchmark b" and parent.info.status == "FAILED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED"]
    (done,) = [run for run in children if run.info.status == "FINISHED"]
    assert parent.data.metrics["image_auroc/disc"] == done.data.metrics["image_auroc"]
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"results.json", "summary.json", "benchmark"} <= names
    files = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "benchmark")}
    assert {f"benchmark/{name}" for name in ("tables.md", "summary.csv", "results.csv", "page")} <= files
    pages = {artifact.path for artifact in client.list_artifacts(parent.info.run_id, "benchmark/page")}
    assert pages == {"benchmark/page/index.html", "benchmark/page/galleries"}
    load = "import mlflow; print(len(mlflow.MlflowClient().load_table('{}', 'summary.json', ['{}'])))"
    shown = zygote.popen(  # MLflow knows it for a table; a process of its own, as it reads from one address per process
        [sys.executable, "-c", load.format(parent.info.experiment_id, parent.info.run_id)],
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}"},
        stdout=subprocess.PIPE,
        text=True,
    ).communicate(timeout=60)
    assert int(shown[0]) == len(pd.read_csv(project / FOLDER / "report/summary.csv"))


def test_results_of_another_version_are_not_mixed_in(tmp_path, monkeypatch):
    """A method that is run again after an upgrade would be compared with what others did before."""
    settings, store = SharedSettings({"dfc": {"epochs": 2}}, 1), TrialStore(tmp_path)
    store.note(settings={"parameters": {"dfc": {"epochs": 2}}, "threads": 1}, cells=[])
    _refuse_other_settings(settings, store)  # a card from before versions were noted
    _note([], settings, store)
    _refuse_other_settings(settings, store)
    monkeypatch.setattr("discrepancy.benchmark.command.version", lambda name: "99")
    with pytest.raises(InputError, match=f"was made with version '{version('discrepancy')}', now '99'.*another --name"):
        _refuse_other_settings(settings, store)


def test_started_again_only_what_is_missing_runs(finished, photographs, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    store = TrialStore(project / FOLDER)
    before = store.read("dfr/folder/disc/seed_0")
    fixed = tmp_path / "photographs"
    shutil.copytree(photographs, fixed)
    refused = invoke(project, command(fixed, categories="all"))
    assert refused.exit_code == 1 and "another --name" in refused.output
    assert f"was made with data_root '{photographs}', now '{fixed}': expected" in refused.output
    fewer = command(photographs, "--dry-run", params=",dfr.batch_size=2")
    refused = invoke(project, fewer)  # what would be refused is not planned either
    assert refused.exit_code == 1 and "dfr.batch_size 4, now 2: expected" in refused.output
    threads = [option if option != "--threads=1" else "--dry-run" for option in command(photographs, categories="all")]
    assert "dfr         1 done     1 to run" in invoke(project, threads).output  # as many threads as before
    paper = project / "conf/base/parameters_dfr.yml"
    text = paper.read_text()
    paper.write_text(re.sub(r"^  region: .*$", "  region: 4", text, flags=re.MULTILINE))
    refused = invoke(project, command(photographs))
    assert refused.exit_code == 1 and "dfr.region 8, now 4: expected" in refused.output
    paper.write_text(text)
    shutil.copy(
        fixed / "torn/ground_truth/scratch/001_mask.png", photographs / "torn/ground_truth/scratch/000_mask.png"
    )
    try:
        planned = invoke(project, command(photographs, "--dry-run", categories="all"))
        assert planned.exit_code == 0 and "dfr         1 done     1 to run" in planned.output
        assert re.search(
            r"^cache   about \d+\.\d MiB of features in .*04_feature/cache, less if", planned.output, re.MULTILINE
        )
        assert store.read("dfr/folder/torn/seed_0")["state"] == "failed"  # only said, not done
        result = invoke(project, command(photographs, categories="all"))
    finally:
        (photographs / "torn/ground_truth/scratch/000_mask.png").unlink()
    assert result.exit_code == 0, result.output
    assert store.read("dfr/folder/disc/seed_0") == before
    assert store.read("dfr/folder/torn/seed_0")["state"] == "done"


def test_runs_that_a_crash_left_running_are_ended(finished, photographs, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    with sqlite3.connect(project / "mlflow.db") as database:
        database.execute("update runs set status = 'RUNNING', end_time = null")
    result = invoke(project, command(photographs))
    assert result.exit_code == 0, result.output
    parents, children = runs(project)
    assert [run.info.status for run in parents] == ["FINISHED"] and {run.info.status for run in children} == {"KILLED"}


def test_what_was_planned_and_never_run_is_forgotten(finished, photographs, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("discrepancy.benchmark.command.run_locally", interrupted)
        broken = invoke(project, command(photographs, "--seeds=0,1,2"))
    assert broken.exit_code != 0
    store = TrialStore(project / FOLDER)
    assert [trial["seed"] for trial in store.card()["cells"] if trial["category"] == "disc"] == [0, 1, 2]
    parents, _ = runs(project)
    assert [run.info.status for run in parents] == ["KILLED"]
    assert invoke(project, command(photographs)).exit_code == 0
    assert store.table()[["category", "state"]].to_numpy().tolist() == [["disc", "done"], ["torn", "failed"]]


def test_one_benchmark_of_a_name_at_a_time(finished, photographs, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    with file_lock(project / FOLDER / ".lock"):
        refused = invoke(project, command(photographs))
    assert refused.exit_code == 1 and f"is running already (process {os.getpid()} on " in refused.output

    def without_locks(*_):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)  # as on some network's file systems
    assert invoke(project, command(photographs)).exit_code == 0


def test_the_catalog_says_where_a_benchmark_lies(project, photographs):
    (project / "conf/local").mkdir(exist_ok=True)
    entry = "benchmark: {type: discrepancy.datasets.BenchmarkDataset, path: elsewhere}\n"
    (project / "conf/local/catalog.yml").write_text(entry)
    with file_lock(project / "elsewhere/.lock"):
        refused = invoke(project, command(photographs))
    assert refused.exit_code == 1 and f"the benchmark in {project}/elsewhere is running already" in refused.output


def test_what_breaks_a_benchmark_off_is_shown_even_if_mlflow_is_gone_too(finished, photographs, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)

    def gone(self, status):
        raise mlflow.exceptions.MlflowException("API request to http://head:5000 failed")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("discrepancy.benchmark.tracking.ParentRun.close", gone)
    lost = invoke(project, command(photographs))  # nothing else went wrong
    assert lost.exit_code == 1 and "MLflow does not answer" in lost.output and "http://head:5000" in lost.output
    monkeypatch.setattr("discrepancy.benchmark.command._report", full)
    assert str(invoke(project, command(photographs)).exception) == "No space left on device"


def test_an_mlflow_server_that_does_not_answer(project, photographs, monkeypatch, zygote):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/mlflow.yml").write_text("server: {mlflow_tracking_uri: 'http://127.0.0.1:9'}\n")
    result = kedro(project, "benchmark", *command(photographs), start=zygote.popen)
    assert result.returncode == 1 and result.stderr.count("Error:") == 1 and "Traceback" not in result.stderr
    assert "MLflow does not answer" in result.stderr and "127.0.0.1:9" in result.stderr


def test_the_environment_decides_the_data_set(project):
    bootstrap_project(project)
    base = resolved(project, None, {})
    assert base == resolved(project, None, {"dataset": "demo"}) and base["dfr"]["steps"] == 1500
    assert resolved(project, "paper", {})["dataset"] == "mvtec_ad" and resolved(project, "paper", {}) != base
    result = invoke(project, ["--env=paper"])
    assert result.exit_code == 1 and "data/01_raw/mvtec_ad holds no category of mvtec_ad" in result.output


def planned(project, *arguments):
    result = invoke(project, ["--dry-run", *arguments])
    assert result.exit_code == 0, result.output
    return dict(re.findall(r"^(\w+) +\d+ done +\d+ to run, seeds? (.*)$", result.output, re.MULTILINE))


def test_a_method_runs_with_its_own_seed_unless_seeds_are_given(project, photographs):
    """The paper's environment has a seed for FOD; a seed that is asked for is that of all methods."""
    where = f"--params=dataset=folder,data_root={photographs}"
    three = ("--methods=dfr,dfc,fod", "--categories=disc", "--env=paper", where)
    assert planned(project, *three) == {"dfr": "0", "dfc": "0", "fod": "3407"}
    assert planned(project, *three, "--seeds=0,7") == dict.fromkeys(("dfr", "dfc", "fod"), "0, 7")
    assert planned(project, *three, "--params=fod.seed=5") == {"dfr": "0", "dfc": "0", "fod": "5"}
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/globals.yml").write_text("seed: 4\n")
    assert planned(project, "--methods=dfr,fod", "--categories=disc", where) == {"dfr": "4", "fod": "4"}


@pytest.mark.parametrize("seeds", ["0", "5,0", "0,1,5"])
def test_seeds_that_a_method_would_not_use_are_refused(project, seeds):
    """Its results would stand in the table under a seed that is not theirs."""
    fixed = invoke(project, ["--dry-run", "--methods=dfr,fod", f"--seeds={seeds}", "--params=fod.seed=5"])
    assert fixed.exit_code == 1 and "fod.seed is 5 in --params, so 0 would not be used" in fixed.output
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/parameters.yml").write_text("dfr: {seed: 5}\n")
    fixed = invoke(project, ["--dry-run", f"--seeds={seeds}"])
    assert fixed.exit_code == 1 and "dfr.seed is 5 in conf/local/parameters.yml" in fixed.output


@pytest.mark.parametrize("seed", ["-1", "one", "1.5", "null"])
def test_a_seed_of_the_configuration_that_is_none_is_named(project, seed):
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/parameters.yml").write_text(f"dfr: {{seed: {seed}}}\n")
    result = invoke(project, ["--dry-run", "--methods=dfr"])
    assert result.exit_code == 1 and "conf/local/parameters.yml: dfr.seed is" in result.output


def test_a_trial_is_trained_with_the_seed_of_its_row(project, photographs):
    """The seed that its detector's card, MLflow and the table name is one."""
    result = invoke(project, command(photographs, params=",dfr.seed=5"))
    assert result.exit_code == 0, result.output
    (row,) = TrialStore(project / FOLDER).table().to_dict("records")
    (card,) = (project / FOLDER / "dfr/folder/disc/seed_5/work").rglob("08_reporting/**/card.json/*/card.json")
    _, (run,) = runs(project)
    assert row["seed"] == json.loads(card.read_text())["parameters"]["seed"] == 5 and run.data.tags["seed"] == "5"


def test_from_a_folder_inside_the_project(project):
    (project / "notebooks").mkdir()
    bootstrap_project(project)
    with chdir(project / "notebooks"):
        result = CliRunner().invoke(benchmark, ["--dry-run"])
    assert result.exit_code == 0 and f"demo: 0 of {3 * len(METHODS)} trials are done" in result.output, result.output


def test_a_run_that_mlflow_does_not_know_is_opened_again_but_not_for_a_passing_failure(
    finished, photographs, tmp_path, monkeypatch
):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    card = TrialStore(project / FOLDER).card()

    def unwell(*_):
        raise mlflow.exceptions.MlflowException("API request to http://head:5000 failed with error code 503")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.get_run", unwell)
        assert "error code 503" in invoke(project, command(photographs)).output
    assert TrialStore(project / FOLDER).card()["run_id"] == card["run_id"]
    TrialStore(project / FOLDER).note(run_id="0" * 32)  # as where the database was removed
    result = invoke(project, command(photographs))
    assert result.exit_code == 0, result.output
    assert TrialStore(project / FOLDER).card()["run_id"] in {run.info.run_id for run in runs(project)[0]}


def test_the_page_is_made_again_from_what_is_on_disk(finished, tmp_path, zygote):
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    first = (project / FOLDER / "page/index.html").read_bytes()
    shutil.rmtree(project / FOLDER / "page")
    result = kedro(project, "run", "--pipeline=benchmark_report", "--params=benchmark=b", start=zygote.popen)
    assert result.returncode == 0, result.stderr
    assert "benchmark b: 1 done, 1 failed" in result.stdout and "page/index.html" in result.stdout
    assert (project / FOLDER / "page/index.html").read_bytes() == first
    other = kedro(project, "run", "--pipeline=benchmark_report", "--params=benchmark=c", start=zygote.popen)
    assert other.returncode == 1 and "benchmarks there: b" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods=dfx"], ["unknown 'dfx'", "dfc, dfr, fod"]),
        (["--methods=,"], ["--methods: nothing given"]),
        (["--seeds=0,a"], ["--seeds: 'a' given", "whole numbers"]),
        (["--categories=cabel"], ["unknown 'cabel'", "cable, gear, weave"]),
        (["--name=../x"], ["--name: '../x' given", "plain name"]),
        (["--params=category=cable"], ["category is not to be set here", "--categories"]),
        (["--params=seed=3"], ["seed is not to be set here"]),
        (["--params=dataset=mvtec_ad,data_root=/no/such"], ["/no/such holds no category of mvtec_ad"]),
        (["--params=dataset=mvtec"], ["Unknown dataset 'mvtec'"]),
        (["--params=dfr.epoch=3"], ["unknown 'epoch'", "did you mean 'epochs'"]),
        (["--params=epochs=3"], ["unknown 'epochs'"]),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(project, arguments, said):
    result = invoke(project, arguments)
    assert result.exit_code == 1 and result.output.count("Error:") == 1 and "Traceback" not in result.output
    for words in said:
        assert words in result.output
    assert not list((project / "data").rglob("result.json"))


def test_metrics_of_the_parent():
    rows = [("cable", "dfr", 0, 0.8), ("cable", "dfr", 1, 0.9), ("gear", "dfr", 0, 0.5)]
    table = pd.DataFrame(rows, columns=["category", "method", "seed", "image_auroc"]).assign(state="done")
    assert headline(table) == {"image_auroc/cable": pytest.approx(0.85), "image_auroc/gear": 0.5}
    both = pd.concat([table, table.assign(method="größe&", image_auroc=0.1)])
    assert headline(both)["image_auroc/cable/größe_"] == pytest.approx(0.1)
    for name in headline(table.assign(category=["齿轮", "größe", "grüße"])):
        _validate_metric_name(name)
    assert headline(table.assign(state="failed")) == {}
    assert json.dumps(headline(both))
