"""A wrong name in any option of `kedro run` is one line that names the option and what exists."""

import re
from contextlib import chdir

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from discrepancy.cli import run
from tests.conftest import make_project


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("names") / "project")


def refusal(project, *options):
    bootstrap_project(project)
    with chdir(project):
        result = CliRunner().invoke(run, list(options))
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    (line,) = [line for line in result.output.splitlines() if line.strip()]
    assert line.startswith("Error: ") and not (project / "data").exists()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("--nodes=nope", "training.dfc.train"),
        ("--from-nodes=nope", "training.dfc.train"),
        ("--to-nodes=nope", "training.dfc.train"),
        ("--tags=nope", "ingestion, reporting, scoring, training"),
        ("--namespaces=nope", "ingestion, reporting, reporting.dfc, scoring"),
        ("--from-inputs=nope", "dfc.features"),
        ("--to-outputs=nope", "dfc.features"),
        ("--load-versions=nope:1", "dfc.detector"),
        ("--pipelines=dfc,nope", "dfc, dfr, download"),
        ("--pipeline=nope", "dfc, dfr, download"),
        ("--runner=Nope", "SequentialRunner, ThreadRunner"),
        ("--runner=no.Where", "SequentialRunner, ThreadRunner"),
        ("--runner=os.path", "SequentialRunner, ThreadRunner"),
        ("--env=nope", "base, local, paper"),
        ("--params=nope=1", "category, committee, cost_alarm"),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(shared, option, known):
    line = refusal(shared, option)
    assert line.startswith(option.partition("=")[0]) and known in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--tags=scorin", "did you mean 'scoring'"),
        ("--from-nodes=training.dfc.trian", "did you mean 'training.dfc.train'"),
        ("--pipelines=dfrr", "did you mean 'dfr'"),
        ("--runner=ThreadRuner", "did you mean 'ThreadRunner'"),
    ],
)
def test_a_slip_is_guessed(shared, option, said):
    assert said in refusal(shared, option)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runner=ParallelRunner"], "--runner: ParallelRunner .* expected SequentialRunner or ThreadRunner"),
        (["--runner-params=nope=1"], "--runner-params: SequentialRunner refuses .*nope"),
        (["--runner-params=nope"], "--runner-params: 'nope' is no name=value"),
        (["--load-versions=nope"], "dataset_name:YYYY"),
        (["--load-versions=dfc.detector:1"], "--load-versions: this run makes dfc.detector itself"),
        (["--nodes=reporting.dfc.draw_loss", "--load-versions=dfc.history:1"], "no version '1'; there are none"),
        (
            ["--from-nodes=training.dfc.train", "--load-versions=images:1"],
            "--load-versions: this run loads no version of images",
        ),
        (["--conf-source=/nope"], "--conf-source.*/nope"),
        (["--conf-source=/proc"], "/proc holds no folder 'base'"),
        (["--config=/nope"], "--config.*/nope"),
        (["--tags=training", "--nodes=scoring.dfc.evaluate"], "--tags, --nodes: no step is left to run"),
        (["--pipeline=dfc", "--pipelines=dfr"], "--pipeline and --pipelines"),
        (["--async", "--runner-params=is_async=False"], "--async and --runner-params"),
        (["--params=category=gear", "--params=category=nope"], "no demo category 'nope'"),
    ],
)
def test_options_that_cannot_be_used(shared, options, said):
    assert re.search(said, refusal(shared, *options))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run: [", "cannot be read: "),
        ("params: 3", "has no section run"),
        ("run:\n  pipelins: dfc", "unknown 'pipelins' .did you mean 'pipelines'"),
        ("run:\n  pipelines: [ingestion]\n  params:\n    category: nope", "no demo category 'nope'"),
        ("run:\n  params: seed=1,category=nope", "no demo category 'nope'"),
    ],
)
def test_a_file_of_options(shared, tmp_path, text, said):
    (tmp_path / "run.yml").write_text(text)
    assert re.search(said, refusal(shared, f"--config={tmp_path / 'run.yml'}"))


def test_a_file_of_parameters_does_not_set_what_others_share(tmp_path):
    project = make_project(tmp_path / "project")
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/parameters.yml").write_text("data_folder: /out\n")
    line = refusal(project)
    assert line.startswith("local/parameters.yml sets data_folder") and "expected it in local/globals.yml" in line


def test_a_value_of_the_wrong_type_is_said_with_its_file(tmp_path):
    project = make_project(tmp_path / "project")
    (project / "conf/local").mkdir(exist_ok=True)
    (project / "conf/local/parameters.yml").write_text("dfc:\n  epochs: many\n")
    assert refusal(project).endswith("got 'many' (conf/local/parameters.yml)")
    (project / "conf/local/parameters.yml").write_text("dfc:\n  epochs: 3\n")
    assert refusal(project, "--params=dfc.epochs=few").endswith("got 'few' (--params)")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("mlflow.yml", "tracking:\n  nope: 3\n", "conf/.*/mlflow.yml: tracking.nope: .* got 3"),
        ("catalog.yml", "samples: 3\n", "catalog.*'samples' is not a valid"),
        ("catalog.yml", "samples:\n  type: nope.X\n", "catalog.*'samples'"),
    ],
)
def test_files_that_kedro_and_its_plugins_read(tmp_path, file, text, said):
    project = make_project(tmp_path / "project")
    (project / "conf/local").mkdir(exist_ok=True)
    (project / f"conf/local/{file}").write_text(text)
    assert re.search(said, refusal(project, "--pipelines=ingestion"))


@pytest.mark.parametrize(
    "category",
    ["bolt[M8]", "p{1}", "${x}", "a*", "'a\nb'", "x" * 300],
    ids=["glob", "brace", "reference", "star", "line break", "long"],
)
def test_categories_that_kedro_cannot_take_are_refused_before_anything_is_written(shared, category):
    (shared / "mlflow.db").unlink(missing_ok=True)
    line = refusal(shared, "--pipelines=dfc", f"--params=category={category}")
    assert "category is" in line and not (shared / "mlflow.db").exists()


def test_help_tells_of_commas_and_gives_examples():
    shown = CliRunner().invoke(run, ["--help"]).output
    assert "kedro run --pipelines=dfc --params=category=cable" in shown and "A comma in a" in shown
