"""Readable names of the columns of results, and the columns that are better when lower."""

from __future__ import annotations

import pandas as pd

LABELS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "aupro_0.30": "AUPRO at 0.30",
    "aupro_0.05": "AUPRO at 0.05",
    "aupro_as_published": "AUPRO, papers' approximation",
    "best_iou": "best IoU",
    "detection_rate": "detection rate",
    "false_alarm_rate": "false alarms",
    "detection_rate_low": "detection rate, from",
    "detection_rate_high": "detection rate, to",
    "false_alarm_rate_low": "false alarms, from",
    "false_alarm_rate_high": "false alarms, to",
    "oracle_detection_at_target": "detection at the target, oracle",
    "region_recall": "marked regions found",
    "false_regions_per_good_image": "false regions per good image",
    "outlined_good_share": "good images with an outline",
    "train_seconds": "training, s",
    "images_per_second": "images/s",
    "peak_memory_mib": "memory, MiB",
    "peak_gpu_memory_mib": "GPU memory, MiB",
    "peak_gpu_reserved_mib": "GPU memory reserved, MiB",
}
COSTS = ("train_seconds", "images_per_second", "peak_memory_mib", "peak_gpu_memory_mib", "peak_gpu_reserved_mib")
LOWER_IS_BETTER = (
    "false_alarm_rate",
    "false_regions_per_good_image",
    "outlined_good_share",
    "train_seconds",
    "peak_memory_mib",
    "peak_gpu_memory_mib",
    "peak_gpu_reserved_mib",
)


def label(name: str) -> str:
    """Return a column's name as a reader says it; an unknown one with spaces in place of underscores."""
    return LABELS.get(name, name.replace("_", " "))


def metrics_of(summary: pd.DataFrame) -> list[str]:
    """Return the metrics of a summary that have any value: columns with a deviation beside them that are no costs."""
    names = [str(name) for name in summary.columns if f"{name}_std" in summary.columns and name not in COSTS]
    return [name for name in names if summary[name].notna().any()]


def costs_of(summary: pd.DataFrame) -> list[str]:
    """Return the costs of a summary that have any value."""
    return [name for name in COSTS if name in summary and summary[name].notna().any()]
