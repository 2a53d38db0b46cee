"""Writes the tables and pictures of README.md and docs/ from what runs and benchmarks left on disk.

    python tools/results.py --collect     # latest runs and benchmarks in data/ -> benchmarks/results, galleries
    python tools/results.py               # result files -> tables between the markers in the documents

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; nothing in between is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.startup import bootstrap_project

sys.path.insert(0, str(Path(__file__).parent))

import serving_tables
from gpu_checks import tables as gpu_tables

from discrepancy.benchmark.comparison import rank_methods
from discrepancy.benchmark.configuration import catalog_of
from discrepancy.benchmark.plan import Trial
from discrepancy.benchmark.published import published_numbers
from discrepancy.benchmark.results import BenchmarkResults
from discrepancy.benchmark.store import TrialStore
from discrepancy.benchmark.tables import KEYS, compact, read_table
from discrepancy.datasets import TableDataset
from discrepancy.decisions.calibration import DEFAULT_RULE
from discrepancy.figures.comparison import probability
from discrepancy.figures.tables import markdown_table
from discrepancy.methods.registry import METHODS
from discrepancy.pipelines.benchmark_report.nodes import tabulate_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
BENCHMARKS = ("demo", "photographs", "kolektorsdd")
"""Those of `make compare`, with the defaults."""
PICTURES = {"gallery_figure": "{}_{}.png", "correlation_figure": "{}_{}_correlations.png"}
Part = tuple[str, str, str]
"""Data set, category, method."""

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUALITY = ["image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05", "best_iou"]
SHORT = ["image_auroc", "pixel_auroc", "aupro_0.30"]
DECISIONS = ["detection_rate", "false_alarm_rate"]
TARGET = 0.05
"""Of the tables of single decisions."""


def collect() -> None:
    """The latest run of every part and method, the demo's galleries, the benchmarks' tables.

    What is not in `data/` keeps the result that it has.
    """
    bootstrap_project(ROOT)
    with chdir(ROOT):
        latest: dict[Part, tuple[str, str | None]] = {}
        for part, version, data_folder in [*own_runs(), *benchmark_runs()]:
            latest[part] = max(latest.get(part, ("", None)), (version, data_folder), key=lambda run: run[0])
        runs = {(run["dataset"], run["category"], run["method"]): run for run in read("runs")}
        for part, (_, data_folder) in sorted(latest.items()):
            runs[part] = collect_run(*part, data_folder)
        (RESULTS / "runs.json").write_text(json.dumps(list(runs.values()), indent=2) + "\n", encoding="utf-8")
        for results in glob(catalog(benchmark="*").get("benchmark_report.results_table").address):
            collect_benchmark(Path(results).parts[-3], read_table(Path(results)))


def collect_benchmark(name: str, results: pd.DataFrame) -> None:
    """Write a benchmark's tables, with the earlier rows of trials that it does not have."""
    kept = RESULTS / f"benchmark_{name}_results.csv"
    if kept.exists():
        results = pd.concat([results, read_table(kept)]).drop_duplicates(list(KEYS)).sort_values(list(KEYS))
    tables = tabulate_results(BenchmarkResults(name, results, {}))
    for kind, table in zip(("results", "summary", "comparison", "ranks"), tables, strict=True):
        TableDataset(filepath=str(RESULTS / f"benchmark_{name}_{kind}.csv")).save(table)


def catalog(**params: str | None) -> Any:
    """The project's catalog with these parameters, those that are None left out; `*` stands for every value."""
    return catalog_of(ROOT, None, {name: value for name, value in params.items() if value is not None})


def own_runs() -> Iterator[tuple[Part, str, None]]:
    """Part, version and folder (the project's own) of every run that was not a benchmark's."""
    metrics = catalog(dataset="*", category="*").get("*.metrics")
    for path in map(Path, metrics.list_versions()):
        names = [name for name, star in zip(path.parts, Path(metrics.address).parts, strict=True) if star == "*"]
        dataset, category, method = names  # the order of the catalog's paths
        yield (dataset, category, method), path.parent.name, None


def benchmark_runs() -> Iterator[tuple[Part, str, str]]:
    """Part, version and folder of every finished trial with the first seed, of the benchmarks with the defaults."""
    for name in BENCHMARKS:
        store = TrialStore(Path(catalog(benchmark=name).get("benchmark").path))
        for result in store.results():
            if result["state"] == "done" and result["seed"] == 0:
                trial = Trial(result["dataset"], result["category"], result["method"], 0)
                part = (trial.dataset, trial.category, trial.method)
                yield part, result["version"], store.work(trial.folder).as_posix()


def collect_run(dataset: str, category: str, method: str, data_folder: str | None) -> dict[str, Any]:
    """The latest run's result in a folder; those of the demo's pictures that documents show."""
    found = catalog(dataset=dataset, category=category, data_folder=data_folder)
    card, metrics, table = (found.load(f"{method}.{name}") for name in ("card", "metrics", "table"))
    if dataset == "demo":
        for name, target in PICTURES.items():
            shown = ROOT / "docs/pictures" / target.format(method, category)
            if shown.exists() and (picture := found.get(f"{method}.{name}")).exists():
                shutil.copy(picture.address, shown)
    facts = {
        "images": card.images,
        "image_size": card.image_size,
        "epochs": card.epochs or card.parameters.get("epochs"),
    }
    rows = table.to_dict("records")
    return {"dataset": dataset, "category": category, "method": method, **facts, **metrics, "table": rows}


def read(name: str) -> Any:
    """A result file's content; empty where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def defect_table(part: str, method: str = "dfc") -> str:
    """The per-defect table of one part."""
    for run in read("runs"):
        if f"{run['dataset']}/{run['category']}" == part and run["method"] == method:
            return markdown_table(pd.DataFrame(run["table"]))
    return ""


def speed_table() -> str:
    """Tabulate what all metrics together cost, beside sorting the same pixels."""
    report = read("metrics_speed")
    rows = [{"scores": name, **values} for name, values in report["results"].items()] if report else []
    names = ["scores", "ratio", "ratio_worst", "extra_mb", "aupro_error"]
    return markdown_table(pd.DataFrame(rows)[names]) if rows else ""


def study_table(name: str) -> str:
    """Tabulate what the variants of a design study reached."""
    report = read(f"design_study_{name}")
    if not report:
        return ""
    frame = pd.DataFrame(report["variants"])  # only DFC's had the machine for itself
    return markdown_table(frame if name.startswith("dfc") else frame.drop(columns="train_seconds"))


def choices() -> pd.DataFrame:
    """Return the study of choices, one row per part, method and variant."""
    report = read("choices_study")
    return pd.DataFrame(report if isinstance(report, list) else [])


def choices_table() -> str:
    """Tabulate what each choice brings, mean over the parts."""
    frame = choices()
    if frame.empty:
        return ""
    grouped = frame.groupby(["method", "variant"], sort=False)
    means = grouped[SHORT].mean()  # no seconds: variants take up each other's checkpoints
    means.insert(0, "parts", grouped["part"].nunique())
    return markdown_table(means.reset_index())


def choices_by_part() -> str:
    """Tabulate the AUROC of images on each part, for some of the variants."""
    frame = choices()
    if frame.empty:
        return ""
    shown = ["default", "unshifted", "equal weights", "unshifted, without content, maximum"]
    frame = frame[frame["variant"].isin(shown)]
    wide = frame.pivot_table(index=["method", "variant"], columns="part", values=SHORT[0], sort=False)
    return markdown_table(wide.reset_index())


def steps_table() -> str:
    """Tabulate what a bound on the steps saves and costs."""
    report = read("steps_study")
    return markdown_table(pd.DataFrame(report).astype({"epochs": "Int64"})) if report else ""


def epoch_table(device: str) -> str:
    """Tabulate what an epoch of DFR costs, by the ways to go about it."""
    report = read(f"dfr_epoch_{device}")
    rows = (
        [{"preset": preset["preset"], **way} for preset in report["presets"] for way in preset["ways"]]
        if report
        else []
    )
    return markdown_table(pd.DataFrame(rows)) if rows else ""


def step_table() -> str:
    """Tabulate what one training step takes, beside a matrix product."""
    report = read("training_step")
    return (
        markdown_table(pd.DataFrame([{"what": name, "value": value} for name, value in report.items()]))
        if report
        else ""
    )


def fod_step_table(device: str) -> str:
    """Tabulate what a training step of FOD takes, ours and the naive way."""
    report = read(f"fod_step_{device}")
    return markdown_table(pd.DataFrame(report["steps"])) if report else ""


def memory_table() -> str:
    """Tabulate what whole runs need, by the number of images."""
    columns = ["pipeline", "images", "anonymous_mib", "mapped_mib", "kib_per_further_image"]
    return markdown_table(pd.DataFrame(read("scale_memory"), columns=columns))


def summary(benchmark: str) -> pd.DataFrame:
    """Return means and deviations over the seeds of a benchmark, a row per category and method."""
    frame = read_table(RESULTS / f"benchmark_{benchmark}_summary.csv")
    return frame[frame["level"] == "category"]


def all_sets() -> pd.DataFrame:
    """Return the means of all benchmarks, in the form of results, as if of one data set."""
    frame = pd.concat(map(summary, BENCHMARKS), ignore_index=True)[["category", "method", *SHORT, *DECISIONS]]
    return frame.assign(dataset="all", seed=0, state="done", reason="")


def benchmark_table(*benchmarks: str) -> str:
    """Tabulate metrics with their deviations over the seeds, and costs, a row per category and method."""
    metrics = [*SHORT, "pixel_ap", "best_iou", *DECISIONS]
    return markdown_table(pd.concat([compact(summary(name), metrics) for name in benchmarks]).fillna("-"))


def sets_table() -> str:
    """Tabulate means over the seeds, one line per metric and category, and the mean of the categories."""
    results = all_sets()
    lines = []
    for metric in SHORT:
        means = results.pivot_table(index="category", columns="method", values=metric, sort=False).reindex(
            columns=list(METHODS)
        )
        means.loc["mean"] = means.mean()
        means.insert(0, "metric", metric)
        lines.append(means.reset_index())
    return markdown_table(pd.concat(lines))


def sets_in_short() -> str:
    """Tabulate means over all categories, best image AUROC first."""
    means = all_sets().groupby("method")[[*SHORT, *DECISIONS]].mean().sort_values(SHORT[0], ascending=False)
    means.index = pd.Index([METHODS[name].title for name in means.index], name="method")
    return markdown_table(means.reset_index())


def rank_table() -> str:
    """Tabulate mean ranks over all categories, and say below what the tests make of them."""
    frame = rank_methods(all_sets(), SHORT)
    notes = frame.groupby("metric", sort=False)["note"].first()
    words = "\n".join(f"- {metric}: {note}." for metric, note in notes.items())
    shown = frame.assign(friedman_p=frame["friedman_p"].map(probability)).drop(columns=["dataset", "note"])
    return f"{markdown_table(shown)}\n\n{words}"


def two_runs_table() -> str:
    """Two trainings at once beside one alone, by the number of spins of a waiting thread."""
    report = read("two_runs")
    settings = report["settings"] if report else {}
    return markdown_table(pd.DataFrame([{"spins": spins, **values} for spins, values in settings.items()]))


def freed_memory_table() -> str:
    """Images per second and peak memory with glibc's own setting and with ours, and their ratio."""
    report = read("freed_memory")
    rows = {**report["settings"], "ratio": report["ratio"]} if report else {}
    return markdown_table(pd.DataFrame([{"freed memory": name, **values} for name, values in rows.items()]))


def decision_rules() -> str:
    """One line per rule: means over parts and methods, at each target."""
    report = read("decision_study")
    if not report:
        return ""
    frame = pd.DataFrame(report["rows"])
    measures = ["others", "painted", "observed", "detection", "within"]
    targets = sorted(frame["target"].unique(), reverse=True)

    def line(part: pd.DataFrame, names: list[str]) -> dict[str, str]:
        means = part.groupby("target")[names].mean()
        return {name: " / ".join(_or_dash(means.loc[target, name]) for target in targets) for name in names}

    lines = [{"rule": rule, **line(part, measures)} for rule, part in frame.groupby("rule", sort=False)]
    lines.append({"rule": "oracle", "detection": line(frame, ["oracle"])["oracle"]})
    heading = {"rule": f"at {' / '.join(f'{target:.2f}' for target in targets)}"}
    return markdown_table(pd.DataFrame(lines).fillna("").rename(columns=heading))


def _or_dash(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def default_decisions() -> str:
    """One line per part and method: the default rule at a target of 0.05."""
    if not read("decision_study"):
        return ""
    frame = default_rows()
    names = ["part", "method", "held_out", "others", "observed", "detection", "oracle", "within"]
    mean = {"part": "mean", "method": "", "held_out": None, **frame[names[3:]].mean().to_dict()}
    table = pd.DataFrame([*frame[names].to_dict("records"), mean])
    return markdown_table(table.astype({"held_out": "Int64"}))


def cross_fitting_table() -> str:
    """Thresholds from all cross-fitted scores beside those from a fifth of the images, at a target of 0.05."""
    report = read("decision_study")
    if not report or not report["cross"]:
        return ""
    crossed = pd.DataFrame(report["cross"])
    crossed = crossed[crossed["target"] == TARGET].drop(columns="target")
    names = ["part", "method", "observed", "detection", "oracle"]
    return markdown_table(crossed.merge(default_rows()[names], on=["part", "method"], suffixes=("", ", a fifth")))


def light_table() -> str:
    """Tabulate false alarms under another lamp, before and after calibration."""
    rows = [{**row, "drift_named": "yes" if row["drift_named"] else "no"} for row in read("decision_light")]
    return markdown_table(pd.DataFrame(rows)) if rows else ""


def held_out_cost() -> str:
    """Means over the demo's categories, with a fifth of the good images held out and with 5 %."""
    shares = {"5 %": "demo_5_percent", "a fifth": "demo"}
    names = ["image_auroc", "pixel_auroc", "aupro_0.30", "detection_rate", "false_alarm_rate"]
    tables = []
    for share, name in shares.items():
        frame = read_table(RESULTS / f"earlier_{name}_summary.csv")
        tables.append(frame[frame["category"] == "all"].assign(held_out=share)[["method", "held_out", *names]])
    return markdown_table(pd.concat(tables).sort_values("method", kind="stable"))


def demo_decisions() -> str:
    """Decisions and outlines of the demo at the defaults: means over categories and seeds."""
    frame = read_table(RESULTS / "benchmark_demo_summary.csv")
    names = ["false_alarm_rate", "detection_rate", "oracle_detection_at_target", "region_recall"]
    names += ["false_regions_per_good_image", "outlined_good_share"]
    return markdown_table(frame[frame["category"] == "all"][["method", *names]])


def default_rows() -> pd.DataFrame:
    """The study's rows of the default rule at a target of 0.05."""
    frame = pd.DataFrame(read("decision_study")["rows"])
    return frame[(frame["rule"] == DEFAULT_RULE) & (frame["target"] == TARGET)]


def outline_table() -> str:
    """How outlines fit, by the lower threshold of regions: means over parts and methods."""
    report = read("decision_study")
    means = pd.DataFrame(report["outlines"]).groupby("low", sort=False).mean(numeric_only=True) if report else None
    return "" if means is None else markdown_table(means.reset_index())


def rate_table() -> str:
    """Ingestion beside Pillow alone."""
    report = read("scale_rate")
    return markdown_table(pd.DataFrame([report])) if report else ""


def published_table() -> str:
    """Means over MVTec AD's categories as others publish them, with the frozen network behind each."""
    table = published_numbers().query("dataset == 'mvtec_ad' and category == 'all'")
    names = ["method", "variant", "backbone"]
    wide = table.pivot(index=names, columns="metric", values="value").reset_index()
    return markdown_table(wide[[*names, *(name for name in QUALITY if name in wide)]])


TABLES = {
    "published": published_table,
    "all sets": sets_table,
    "all sets, in short": sets_in_short,
    "all sets, in full": lambda: benchmark_table(*BENCHMARKS),
    "all sets, ranks": rank_table,
    "scale memory": memory_table,
    "decision rules": decision_rules,
    "decisions of the default rule": default_decisions,
    "decisions by cross-fitting": cross_fitting_table,
    "outlines": outline_table,
    "another light": light_table,
    "held-out cost": held_out_cost,
    "decisions on the demo": demo_decisions,
    "scale rate": rate_table,
    "two runs": two_runs_table,
    "freed memory": freed_memory_table,
    "predict rate": lambda: markdown_table(pd.DataFrame(read("predict_rate"))),
    "predict memory": lambda: markdown_table(pd.DataFrame(read("predict_memory"))),
    "fod step": lambda: fod_step_table("cpu"),
    "design study fod": lambda: study_table("fod_cable"),
    "cable by FOD": lambda: defect_table("demo/cable", "fod"),
    "training step": step_table,
    "design study dfc": lambda: study_table("dfc_cable"),
    "design study dfr": lambda: study_table("dfr_cable"),
    "design study dfr, real": lambda: study_table("dfr_kolektorsdd"),
    "choices": choices_table,
    "choices by part": choices_by_part,
    "steps": steps_table,
    "dfr epoch": lambda: epoch_table("cpu"),
    "dfr widths": lambda: markdown_table(pd.DataFrame(read("dfr_widths_cpu"))),
    "cable": lambda: defect_table("demo/cable"),
    "cable by DFR": lambda: defect_table("demo/cable", "dfr"),
    "metrics speed": speed_table,
    "exported": lambda: serving_tables.equality(read("serving")),
    "exported in int8": lambda: serving_tables.quantised(read("serving")),
    "exported speed": lambda: serving_tables.speed(read("serving")),
    "soak": lambda: serving_tables.load(read("soak")),
    "gpu": lambda: gpu_tables.document(read("gpu_h100")),
}


def filled(text: str) -> str:
    """A document's text with every table that it asks for."""
    pattern = r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text, flags=re.DOTALL)


def write() -> None:
    """Put every table where a document asks for it."""
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", action="store_true", help="read the latest runs first")
    if parser.parse_args().collect:
        collect()
    write()
