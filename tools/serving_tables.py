"""The tables of docs/serving.md: equality, size and speed of exports, and the server under load."""

from __future__ import annotations

from typing import Any

import pandas as pd

from discrepancy.figures.tables import markdown_table
from discrepancy.methods.registry import METHODS


def equality(report: dict[str, Any] | None) -> str:
    """Largest relative differences of each method's export from PyTorch, and its size."""
    if not report:
        return ""
    rows = [
        {
            "method": METHODS[row["method"]].title,
            "photographs": row["equal"]["photographs"],
            "maps, same images": f"{row['equal']['map_difference']:.1e}",
            "scores, same images": f"{row['equal']['score_difference']:.1e}",
            "scores, same files": f"{row['equal']['file_score_difference']:.1e}",
            "graph, MB": row["megabytes"],
        }
        for row in report["methods"]
    ]
    return markdown_table(pd.DataFrame(rows))


def speed(report: dict[str, Any] | None) -> str:
    """Images per second of each way to compute, and how many times those of PyTorch that is."""
    if not report:
        return ""
    rows = []
    for row in report["methods"]:
        for batch, ways in row["batches"].items():
            base = ways["PyTorch"]["images_per_second"]
            line: dict[str, Any] = {"method": METHODS[row["method"]].title, "batch": batch}
            for name, found in ways.items():
                rate = found["images_per_second"]
                line[f"{name}, images per second"] = f"{rate:.1f}"
                line[f"{name}, ms: p50 (p99)"] = (
                    f"{found['milliseconds']['p50']:.0f} ({found['milliseconds']['p99']:.0f})"
                )
                if name != "PyTorch":
                    line[f"{name}, times PyTorch"] = f"{rate / base:.2f}"
            rows.append(line)
    return markdown_table(pd.DataFrame(rows))


def quantised(report: dict[str, Any] | None) -> str:
    """Metrics of each method's graph in float32 and in int8, on the demo's test images, and its size."""
    if not report:
        return ""
    rows = [
        {
            "method": METHODS[row["method"]].title,
            "graph": found["graph"],
            "MB": row["megabytes"] if found["graph"] == "float32" else row["int8_megabytes"],
            **{name: f"{found[name]:.3f}" for name in ("image_auroc", "pixel_auroc", "aupro_0.30")},
        }
        for row in report["methods"]
        for found in row.get("int8_cost", ())
    ]
    return markdown_table(pd.DataFrame(rows)) if rows else ""


def load(report: dict[str, Any] | None) -> str:
    """What a server made of many requests."""
    if not report:
        return ""
    milliseconds = report["milliseconds"]
    statuses = sorted({status for found in report["garbage"].values() for status in found})
    rows = {
        "requests, and clients at a time": f"{report['requests']:,}, {report['clients']}",
        "photographs, and those with the right score": f"{report['good']:,}, {report['good_with_the_right_score']:,}",
        "garbage, and refused with 4xx": f"{report['requests'] - report['good']}, {report['garbage_refused']}",
        "statuses of garbage": ", ".join(statuses),
        "requests per second": report["requests_per_second"],
        "latency in ms: p50, p90, p99": ", ".join(f"{milliseconds[name]:.0f}" for name in ("p50", "p90", "p99")),
        "memory, median of the first and last 1,000": (
            f"{report['memory_mb_first_1000']:.0f} MB, {report['memory_mb_last_1000']:.0f} MB"
        ),
        "under way at SIGTERM, and answered": f"{report['under_way_at_the_end']}, {report['answered_of_these']}",
    }
    return markdown_table(pd.DataFrame(list(rows.items()), columns=["", "found"]))
