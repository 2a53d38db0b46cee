"""The tool that collects results: the latest run of each part, wherever the catalog says that it lies."""

import importlib.util
import json
from contextlib import chdir

import numpy as np
import pandas as pd
import pytest
from kedro.framework.startup import bootstrap_project
from matplotlib.figure import Figure
from PIL import Image

from discrepancy.benchmark.configuration import catalog_of
from discrepancy.benchmark.plan import Trial
from discrepancy.benchmark.store import TrialStore
from discrepancy.methods.card import Card, ImageScoreEntry, NetworkEntry
from tests.conftest import PROJECT

CARD = Card(
    method="dfc",
    parameters={"epochs": 3},
    backbone=NetworkEntry(backbone="vgg19", layers=["relu1_1"], weights="0" * 64),
    image_size=[96, 96],
    image_score=ImageScoreEntry(sigma=0.0),
    images={"train": 5},
)
TABLE = pd.DataFrame({"defect": ["01", "all"], "images": [1, 2]})


@pytest.fixture
def tool(project, monkeypatch):
    """The tool, for a project without results."""
    spec = importlib.util.spec_from_file_location("results", PROJECT / "tools/results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", project)
    monkeypatch.setattr(module, "RESULTS", project / "results")
    (project / "results").mkdir()
    (project / "docs/pictures").mkdir(parents=True)
    bootstrap_project(project)
    return module


def save(project, part, version, auroc, **params):
    """What a run leaves for the tool."""
    dataset, category, method = part
    given = {"dataset": dataset, "category": category, **params}
    with chdir(project):
        catalog = catalog_of(project, None, given, save_version=version)
        catalog.save(f"{method}.card", CARD)
        catalog.save(f"{method}.metrics", {"image_auroc": auroc})
        catalog.save(f"{method}.table", TABLE)
        catalog.save(f"{method}.gallery_figure", Figure(figsize=(1, 1), dpi=20, facecolor=(auroc, 0, 0)))


def collected(tool):
    tool.collect()
    runs = json.loads((tool.RESULTS / "runs.json").read_text())
    return {(run["dataset"], run["category"], run["method"]): run for run in runs}


def test_the_latest_run_of_every_part_and_method(tool, project):
    (project / "docs/pictures/dfc_cable.png").touch()  # a document shows it
    for version, auroc in (("2026-01-02", 0.5), ("2026-01-01", 0.25)):
        save(project, ("demo", "cable", "dfc"), version, auroc)
    save(project, ("folder", "disc", "dfr"), "2026-01-01", 0.75)
    save(project, ("demo", "gear", "dfc"), "2026-01-01", 0.25)  # no document shows its gallery
    runs = collected(tool)
    assert {part: run["image_auroc"] for part, run in runs.items()} == {
        ("demo", "cable", "dfc"): 0.5,
        ("demo", "gear", "dfc"): 0.25,
        ("folder", "disc", "dfr"): 0.75,
    }
    run = runs["demo", "cable", "dfc"]
    assert (run["images"], run["image_size"], run["epochs"]) == ({"train": 5}, [96, 96], 3)
    assert run["table"] == [{"defect": "01", "images": 1}, {"defect": "all", "images": 2}]
    assert [path.name for path in (project / "docs/pictures").iterdir()] == ["dfc_cable.png"]
    picture = np.asarray(Image.open(project / "docs/pictures/dfc_cable.png").convert("RGB"))
    assert (picture == (128, 0, 0)).all()


def test_a_benchmarks_first_seed_counts_as_a_run(tool, project):
    save(project, ("demo", "cable", "dfc"), "2026-01-01", 0.25)
    save(project, ("demo", "gear", "dfc"), "2026-01-03", 0.125)
    store = TrialStore(project / "data/08_reporting/benchmark/demo")
    for category in ("cable", "gear"):
        for seed, auroc in ((0, 0.5), (1, 1.0)):
            trial = Trial("demo", category, "dfc", seed)
            folder = store.work(trial.folder).relative_to(project).as_posix()
            save(project, ("demo", category, "dfc"), "2026-01-02", auroc, data_folder=folder)
            index = {"dataset": "demo", "category": category, "method": "dfc", "seed": seed, "state": "done"}
            store.write(trial.folder, index | {"fingerprint": "f", "seconds": 1.0, "version": "2026-01-02"})
    runs = collected(tool)
    assert {part[1]: run["image_auroc"] for part, run in runs.items()} == {"cable": 0.5, "gear": 0.125}


def trials(**aurocs):
    """A benchmark's rows: method and seed, `dfc_0`, with the AUROC of its images."""
    named = ((*name.rsplit("_", 1), auroc) for name, auroc in aurocs.items())
    fixed = {"dataset": "demo", "category": "cable", "state": "done"}
    return pd.DataFrame(
        fixed | {"method": name, "seed": int(seed), "image_auroc": auroc} for name, seed, auroc in named
    )


def test_trials_take_the_place_of_earlier_ones_and_the_others_stay(tool, project):
    trials(dfc_0=0.5, dfc_1=0.75, dfr_0=0.875).to_csv(tool.RESULTS / "benchmark_demo_results.csv", index=False)
    with chdir(project):
        for name in ("demo", "other"):
            catalog_of(project, None, {"benchmark": name}).save("benchmark_report.results_table", trials(dfc_0=0.25))
    collected(tool)
    for name, means in (("demo", {"dfc": 0.5, "dfr": 0.875}), ("other", {"dfc": 0.25})):
        summary = pd.read_csv(tool.RESULTS / f"benchmark_{name}_summary.csv").query("level == 'category'")
        assert summary.set_index("method")["image_auroc"].to_dict() == means
    rows = pd.read_csv(tool.RESULTS / "benchmark_demo_results.csv")
    assert rows["image_auroc"].tolist() == [0.25, 0.75, 0.875], "in the order of methods and seeds"
    for kind in ("comparison", "ranks"):
        assert (tool.RESULTS / f"benchmark_demo_{kind}.csv").is_file()


def test_a_benchmark_with_other_parameters_does_not_count_as_a_run(tool, project):
    store = TrialStore(project / "data/08_reporting/benchmark/other")
    trial = Trial("demo", "cable", "dfc", 0)
    folder = store.work(trial.folder).relative_to(project).as_posix()
    save(project, ("demo", "cable", "dfc"), "2026-01-02", 0.5, data_folder=folder)
    index = {"dataset": "demo", "category": "cable", "method": "dfc", "seed": 0, "state": "done"}
    store.write(trial.folder, index | {"fingerprint": "f", "seconds": 1.0, "version": "2026-01-02"})
    assert collected(tool) == {}


def test_what_was_collected_before_stays(tool, project):
    earlier = {"dataset": "folder", "category": "nut", "method": "fod", "image_auroc": 0.5}
    (tool.RESULTS / "runs.json").write_text(json.dumps([earlier]))
    assert collected(tool) == {("folder", "nut", "fod"): earlier}
