"""The checks for a GPU run on a CPU too, without Kedro and MLflow, and find there that the CPU equals itself."""

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sessions

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools/gpu_check.py"
SECTIONS = [
    "machine",
    "equality",
    "speed",
    "projection",
    "training",
    "strict",
    "devices",
    "memory",
    "graph",
    "kernels",
    "variants",
]

WITHOUT_KEDRO = """
import runpy, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"kedro", "kedro_datasets", "kedro_mlflow", "mlflow", "omegaconf"}:
            raise ImportError(f"the core asked for {name}")

sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "report.json"
    options = ["--tiny", "--device", "cpu", "--out", out, "--precisions", "fp32", "bf16", "--only", *SECTIONS]
    subprocess.run([sys.executable, "-c", WITHOUT_KEDRO, SCRIPT, *options], check=True, capture_output=True)
    return json.loads(out.read_text())["sections"]


def test_every_section_came_to_its_end(sections):
    assert list(sections) == SECTIONS
    assert {name: section["error"] for name, section in sections.items() if "error" in section} == {}


def test_the_cpu_equals_itself(sections):
    lines = sections["equality"]["result"]["lines"]
    assert [line["method"] for line in lines[::2]] == ["dfc", "dfr", "fod"]
    for line in lines:
        numbers = [line[name] for name in ("loss", "gradients", "weights")]
        if line["precision"] == "bf16":
            assert all(0 < number < 0.5 for number in numbers), line
        else:
            assert [*numbers, line["maps"]] == [0] * 4, line
    assert [line["maps_after_training_here"] for line in lines[::2]] == [0] * 3


def test_trainings_are_resumed_and_reproduced(sections):
    for line in sections["training"]["result"]["lines"]:
        assert line["resumed_equals_uninterrupted"]
        assert (line["epochs_when_resumed"], line["epochs_when_resumed_on_the_cpu"]) == (4, 5)
    assert [line["equal"] for line in sections["strict"]["result"]["lines"]] == [True] * 3


def test_a_step_that_is_not_recorded_equals_itself(sections):
    for line in sections["graph"]["result"]["lines"]:
        assert line["weights_equal"] and line["losses_equal"] and line["metrics_equal"] and line["resumed_equal"]
        assert line["eager_ms"] > 0 and line["graph_ms"] > 0


def test_speeds_and_the_hours_made_of_them_are_numbers(sections):
    speed = sections["speed"]["result"]
    assert len(speed["training"]) == 6 and len(speed["extraction"]) == 3
    lines = [*speed["training"], *speed["scoring"], *speed["extraction"]]
    assert all(0 < line["images_per_second"] < math.inf for line in lines)
    assert all(line["tflop_per_step"] > 0 for line in speed["training"])
    step = speed["training"][0]
    hours = sections["projection"]["result"]["lines"][0]["step_hours"]
    assert hours == pytest.approx(201 * 3448 / step["images_per_second"] / 3600)


def test_what_changes_the_padding_changes_no_number(sections):
    losses = {line["variant"]: line["loss"] for line in sections["variants"]["result"]["lines"]}
    assert losses["reflection by PyTorch"] == pytest.approx(losses["as it is"], rel=1e-6)
    assert losses["reflection by index_select"] == pytest.approx(losses["as it is"], rel=1e-6)
    assert losses["zero padding"] != pytest.approx(losses["as it is"], rel=1e-6)


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


def test_where_no_kernel_runs_pytorch_equals_itself(tools):
    import torch
    from gpu_checks.kernels import Shape, _line
    from gpu_checks.tables import kernel_rows

    line = _line(Shape(2, 2, (2, 3), 4), torch.device("cpu"))
    assert line["equal"] and 0 < line["deviation"] == line["pytorch_deviation"] < 1e-5
    assert all(line[name] > 0 for name in ("backward_ms", "scored_ms", "pytorch_backward_ms", "pytorch_scored_ms"))
    (row,) = kernel_rows({"sections": {"kernels": {"result": {"lines": [line]}}}})
    assert row["tokens"] == "2x3" and row["equal"] == "yes"


def test_sections_that_are_not_run_are_taken_from_an_earlier_file(tmp_path):
    earlier, out = tmp_path / "earlier.json", tmp_path / "report.json"
    earlier.write_text(json.dumps({"sections": {"devices": {"seconds": 1}, "speed": {"seconds": 2}}}))
    options = ["--device", "cpu", "--only", "devices", "--others", earlier, "--note", "of two runs", "--out", out]
    subprocess.run([sys.executable, SCRIPT, *options], check=True, capture_output=True)
    report = json.loads(out.read_text())
    assert report["notes"] == ["of two runs"] and report["sections"]["speed"] == {"seconds": 2}
    assert "result" in report["sections"]["devices"]


@pytest.mark.parametrize("method", ["dfc", "dfr", "fod"])
def test_the_papers_parameters_are_those_of_the_configuration(tools, method):
    from gpu_checks.settings import METHODS, paper_parameters
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env="paper", runtime_params={"device": "cpu"}) as session:
        given = session.load_context().config_loader["parameters"][method]
    chosen = {"device": "cpu", "weights": given["weights"], "seed": given["seed"]}
    assert paper_parameters(method, **chosen) == METHODS[method].Parameters.model_validate(given)


def test_a_section_that_fails_leaves_what_it_had_and_the_others_go_on(tools, tmp_path, monkeypatch, capsys):
    script = runpy.run_path(str(SCRIPT))

    def failing(options, found):
        found["seen"] = math.nan
        raise RuntimeError("out of order")

    monkeypatch.setitem(script["SECTIONS"], "machine", (failing, 30))
    out = tmp_path / "report.json"
    monkeypatch.setattr(
        sys, "argv", ["gpu_check.py", "--device", "cpu", "--out", str(out), "--only", "machine", "devices"]
    )
    script["main"]()
    sections = json.loads(out.read_text())["sections"]
    assert (
        sections["machine"]["error"] == "RuntimeError: out of order" and "failing" in sections["machine"]["traceback"]
    )
    assert sections["machine"]["result"] == {"seen": "nan"}
    assert sections["devices"]["result"]["resolve_device"]["cpu"] == "cpu"


def test_a_section_that_takes_too_long_is_ended(tools):
    script = runpy.run_path(str(SCRIPT))

    def endless(options, found):
        while True:
            found["turns"] = found.get("turns", 0) + 1

    outcome = script["run"]("endless", endless, None, 3.0, {})
    assert outcome["error"].startswith("TimeoutError") and outcome["result"]["turns"] > 0


def test_the_tables_are_printed():
    command = [sys.executable, SCRIPT, "--table", ROOT / "benchmarks/results/gpu_h100.json"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert text in (ROOT / "docs/performance.md").read_text(encoding="utf-8")
