"""A report of `tools/gpu_check.py` as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from discrepancy.figures.tables import markdown_table

Report = Mapping[str, Any]
Rows = list[dict[str, Any]]


def document(report: Report) -> str:
    """All tables that the report has something for, each under a line that says what it shows; empty without one."""
    if not report:
        return ""
    parts = [_machine(report)]
    for caption, rows in TABLES.items():
        if found := rows(report):
            parts += [caption, markdown_table(pd.DataFrame(found))]
    return "\n\n".join(parts)


def _found(report: Report, section: str, name: str = "lines") -> Rows:
    result: Rows = report["sections"].get(section, {}).get("result", {}).get(name, [])
    return result


def _machine(report: Report) -> str:
    """One line: which card and versions, and what it reaches."""
    found = report["sections"]["machine"]["result"]
    if "gpu" not in found:
        return f"{found['device']}, PyTorch {found['torch']}, {found['cpu_cores']} CPU cores."
    rates = ", ".join(f"{rate:.0f} in {mode}" for mode, rate in found["matmul_tflops"].items())
    return (
        f"{found['gpu']} ({found['memory_gib']:.0f} GiB), driver {found['driver']}, CUDA {found['cuda']}, PyTorch "
        f"{found['torch']}, {found['cpu_cores']} CPU cores. A large matrix product reaches, in TFLOP/s, {rates}. "
        f"A copy reads and writes {found['copy_gb_per_s']:.0f} GB/s together. To issue a small operation takes "
        f"{found['operation_us']:.1f} microseconds."
    )


def _peak(report: Report, precision: str) -> float:
    """TFLOP/s of a large product in a precision."""
    rate: float = report["sections"]["machine"]["result"]["matmul_tflops"][precision]
    return rate


def training_rows(report: Report) -> Rows:
    """One training step at the paper's settings."""
    busy = {_key(line): line for line in _found(report, "profile")}
    rows = []
    for line in _found(report, "speed", "training"):
        seen = busy.get(_key(line), {})
        rows.append(
            {
                "method": line["method"].upper(),
                "precision": line["precision"],
                "batch": line["batch_size"],
                "ms": line["ms"],
                "busy_ms": seen.get("busy_ms"),
                "kernels": seen.get("kernels"),
                "tflop": line["tflop_per_step"],
                "share_of_peak": line["tflops"] / _peak(report, line["precision"]),
                "images_per_s": line["images_per_second"],
                "loop_images_per_s": line["fit_images_per_second"],
                "allocated_mib": line["allocated_mib"],
                "reserved_mib": line["reserved_mib"],
            }
        )
    return rows


def projection_rows(report: Report) -> Rows:
    """Hours for the whole of MVTec AD."""
    return [
        {
            "method": line["method"].upper(),
            "precision": line["precision"],
            "epochs": line["epochs"],
            "hours_of_steps": line["step_hours"],
            "hours_of_the_loop": line["fit_hours"],
        }
        for line in _found(report, "projection")
    ]


def graph_rows(report: Report) -> Rows:
    """FOD's step in the training loop, plain and recorded."""
    return [
        {
            "precision": line["precision"],
            "ms": line["eager_ms"],
            "recorded_ms": line["graph_ms"],
            "speed_up": line["speed_up"],
            "weights_equal": _equal({"equal": line["weights_equal"]}),
            "resumed_equal": _equal({"equal": line["resumed_equal"]}),
        }
        for line in _found(report, "graph")
    ]


def kernel_rows(report: Report) -> Rows:
    """FOD's kernels beside PyTorch's own operations."""
    return [
        {
            "images": line["images"],
            "heads": line["heads"],
            "tokens": "x".join(map(str, line["grid"])),
            "width": line["width"],
            "backward_ms": line["backward_ms"],
            "backward_ms, PyTorch": line["pytorch_backward_ms"],
            "scored_ms": line["scored_ms"],
            "scored_ms, PyTorch": line["pytorch_scored_ms"],
            "deviation": _digits(line["deviation"]),
            "deviation, PyTorch": _digits(line["pytorch_deviation"]),
            "equal": _equal(line),
        }
        for line in _found(report, "kernels")
    ]


def scoring_rows(report: Report) -> Rows:
    """Images per second of scoring, by batch size."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in _found(report, "speed", "scoring"):
        row = rows.setdefault(_key(line), {"method": line["method"].upper(), "precision": line["precision"]})
        row[f"images_per_s, batch {line['batch_size']}"] = line["images_per_second"]
        row[f"reserved_mib, batch {line['batch_size']}"] = line["reserved_mib"]
    return list(rows.values())


def equality_rows(report: Report) -> Rows:
    """Deviations from the CPU as they are."""
    rows = []
    for line in _found(report, "equality"):
        numbers = {name: _digits(line.get(name)) for name in ("loss", "gradients", "weights", "maps")}
        words = {name: line[name] for name in ("parameters", "precision")}
        rows.append({"method": line["method"].upper(), **words, **numbers})
    return rows


def variant_rows(report: Report) -> Rows:
    """DFC's step, changed in one thing."""
    rows: dict[str, dict[str, Any]] = {}
    for line in _found(report, "variants"):
        row = rows.setdefault(line["variant"], {"variant": line["variant"]})
        row[f"ms, {line['precision']}"] = line["ms"]
    return list(rows.values())


def determinism_rows(report: Report) -> Rows:
    """Return for each method whether two trainings from one start are equal."""
    found = report["sections"].get("determinism", {}).get("result", {})
    strict = {_named(line): line for line in found.get("deterministic_algorithms", {}).get("lines", [])}
    return [
        {
            "method": line["method"].upper(),
            "parameters": line["parameters"],
            "equal": _equal(line),
            "equal, deterministic algorithms": _equal(strict.get(_named(line), {})),
        }
        for line in found.get("as_it_is", [])
    ]


def _equal(line: Mapping[str, Any]) -> str:
    if "error" in line:
        return "refused"
    return {True: "yes", False: "no", None: "-"}[line.get("equal")]


def _key(line: Mapping[str, Any]) -> tuple[str, str]:
    return line["method"], line["precision"]


def _named(line: Mapping[str, Any]) -> tuple[str, str]:
    return line["method"], line["parameters"]


def _digits(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


TABLES: dict[str, Callable[[Report], Rows]] = {
    "One training step at the papers' settings, 256x256:": training_rows,
    "Hours of training for the 15 categories of MVTec AD (3,448 images), from these:": projection_rows,
    "FOD's step in the training loop, plain and recorded as a CUDA graph:": graph_rows,
    "One attention of FOD by its kernels, and by PyTorch's own operations:": kernel_rows,
    "Scoring:": scoring_rows,
    "DFC's step, changed in one thing at a time:": variant_rows,
    "Largest relative deviations from the CPU, which computes in float32:": equality_rows,
    "Two trainings from one start, equal to the last bit:": determinism_rows,
}
