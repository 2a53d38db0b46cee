"""Writes the tables and pictures of README.md and docs/ from what runs and benchmarks left on disk.

    python tools/results.py --collect     # latest finished runs in data/ -> benchmarks/results/runs.json, gallery
    python tools/results.py               # result files -> tables between the markers in the documents

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; nothing in between is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from discrepancy.figures.tables import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUALITY = ["image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05", "best_iou"]
SHORT = ["image_auroc", "pixel_auroc", "aupro_0.30"]
COSTS = ["train_seconds", "images_per_second", "peak_memory_mib"]


def latest(folder: Path) -> Path:
    """The newest version of a versioned artifact."""
    return max(folder.iterdir()) / folder.name


def collect() -> None:
    """The latest run of every part and method; the demo's galleries (of others the pictures stay where they are)."""
    runs = []
    for folder in sorted((ROOT / "data/08_reporting").glob("*/*/*/")):
        dataset, category, method = folder.parts[-3:]
        if not (folder / "metrics.json").is_dir():
            continue
        card = json.loads(
            (latest(ROOT / f"data/06_models/{dataset}/{category}/{method}/detector") / "card.json").read_text()
        )
        metrics = json.loads(latest(folder / "metrics.json").read_text())
        table = pd.read_csv(latest(folder / "table.csv")).to_dict("records")
        facts = {"images": card["images"], "image_size": card["image_size"], "epochs": card["parameters"]["epochs"]}
        runs.append({"dataset": dataset, "category": category, "method": method, **facts, **metrics, "table": table})
        if dataset == "demo":
            pictures = {
                "gallery.png": f"{method}_{category}.png",
                "correlation.png": f"{method}_{category}_correlations.png",
            }
            for name, target in pictures.items():
                if (folder / name).is_dir():
                    shutil.copy(latest(folder / name), ROOT / "docs/pictures" / target)
    (RESULTS / "runs.json").write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


def read(name: str) -> Any:
    """A result file's content; empty where it has not been made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def run_table(dataset: str | None = None, columns: list[str] | None = None) -> str:
    """One line per run, DFC's and the baselines' beside each other; all columns unless some are named."""
    rows = [
        {"part": f"{run['dataset']}/{run['category']}", "method": run["method"].upper()}
        | {name: run[name] for name in (*QUALITY, "detection_rate", "false_alarm_rate", *COSTS)}
        for run in read("runs")
    ]
    shown = {"padim": "PaDiM", "patchcore": "PatchCore"}
    rows += [
        {"part": row["part"], "method": shown[row["method"]], "train_seconds": row["fit_and_score_seconds"]}
        | {name: row[name] for name in QUALITY if name in row}
        for row in read("baselines")
    ]
    frame = pd.DataFrame([row for row in rows if dataset is None or row["part"].startswith(f"{dataset}/")])
    if not len(frame):
        return ""
    frame = frame.sort_values("part", kind="stable")
    return markdown_table(frame[["part", "method", *(columns or frame.columns[2:])]])


def defect_table(part: str, method: str = "dfc") -> str:
    """The per-defect table of one part."""
    for run in read("runs"):
        if f"{run['dataset']}/{run['category']}" == part and run["method"] == method:
            return markdown_table(pd.DataFrame(run["table"]))
    return ""


def speed_table() -> str:
    """What all metrics together cost, beside sorting the same pixels."""
    report = read("metrics_speed")
    rows = [{"scores": name, **values} for name, values in report["results"].items()] if report else []
    names = ["scores", "ratio", "ratio_worst", "extra_mb", "aupro_error"]
    return markdown_table(pd.DataFrame(rows)[names]) if rows else ""


def study_table(name: str) -> str:
    """What the variants of a design study reached."""
    report = read(f"design_study_{name}")
    if not report:
        return ""
    frame = pd.DataFrame(report["variants"])  # only DFC's had the machine for itself
    return markdown_table(frame if name.startswith("dfc") else frame.drop(columns="train_seconds"))


def epoch_table(device: str) -> str:
    """What an epoch of DFR costs, by the ways to go about it."""
    report = read(f"dfr_epoch_{device}")
    rows = (
        [{"preset": preset["preset"], **way} for preset in report["presets"] for way in preset["ways"]]
        if report
        else []
    )
    return markdown_table(pd.DataFrame(rows)) if rows else ""


def step_table() -> str:
    """What one training step takes, beside a matrix product."""
    report = read("training_step")
    return (
        markdown_table(pd.DataFrame([{"what": name, "value": value} for name, value in report.items()]))
        if report
        else ""
    )


def fod_step_table(device: str) -> str:
    """What a training step of FOD takes, ours and the naive way."""
    report = read(f"fod_step_{device}")
    return markdown_table(pd.DataFrame(report["steps"])) if report else ""


def memory_table() -> str:
    """What whole runs need, by the number of images."""
    columns = ["pipeline", "images", "anonymous_mib", "mapped_mib", "kib_per_further_image"]
    return markdown_table(pd.DataFrame(read("scale_memory"), columns=columns))


def rate_table() -> str:
    """Ingestion beside Pillow alone."""
    report = read("scale_rate")
    return markdown_table(pd.DataFrame([report])) if report else ""


TABLES = {
    "scale memory": memory_table,
    "scale rate": rate_table,
    "fod step": lambda: fod_step_table("cpu"),
    "design study fod": lambda: study_table("fod_cable"),
    "cable by FOD": lambda: defect_table("demo/cable", "fod"),
    "training step": step_table,
    "design study dfc": lambda: study_table("dfc_cable"),
    "design study dfr": lambda: study_table("dfr_cable"),
    "design study dfr, real": lambda: study_table("dfr_kolektorsdd"),
    "dfr epoch": lambda: epoch_table("cpu"),
    "dfr widths": lambda: markdown_table(pd.DataFrame(read("dfr_widths_cpu"))),
    "demo": lambda: run_table("demo"),
    "demo in short": lambda: run_table("demo", [*SHORT, "detection_rate", "false_alarm_rate", "train_seconds"]),
    "real": lambda: run_table("folder"),
    "cable": lambda: defect_table("demo/cable"),
    "cable by DFR": lambda: defect_table("demo/cable", "dfr"),
    "metrics speed": speed_table,
}


def write() -> None:
    """Put every table where a document asks for it."""
    for path in DOCUMENTS:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            pattern = r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)"
            text = re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text, flags=re.DOTALL)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", action="store_true", help="read the latest runs first")
    if parser.parse_args().collect:
        collect()
    write()
