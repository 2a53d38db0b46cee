"""Words and tables of a report: metrics with their reasons, thresholds, parameters, data and detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from discrepancy.figures.cases import found_anomalous, summary
from discrepancy.figures.labels import COSTS, label
from discrepancy.figures.report_page import Fact
from discrepancy.methods.card import Card
from discrepancy.methods.registry import METHODS
from discrepancy.metrics.overlap import EIGHT_CONNECTED
from discrepancy.parameters import Parameters, Setting, settings

SYNTHETIC = "synthetic images"

Metrics = Mapping[str, float | None]

_MEANINGS = {
    "image_auroc": "probability that a defective image scores higher than a good one",
    "image_ap": "precision for images, mean over all recalls",
    "image_f1max": "F1 score for images at its best threshold",
    "pixel_auroc": "probability that a defective pixel scores higher than a good one",
    "pixel_ap": "precision for pixels, mean over all recalls",
    "pixel_f1max": "F1 score for pixels at its best threshold",
    "aupro_0.30": "mean share found of each defect, at false-positive rates of pixels up to 0.30",
    "aupro_0.05": "the same at false-positive rates up to 0.05",
    "aupro_as_published": "AUPRO at 0.30 as the papers' programs approximate it",
    "best_iou": "overlap of detected and marked area at the best threshold",
    "detection_rate": "share of the defective images that score above the threshold",
    "false_alarm_rate": "share of the good images that score above the threshold",
    "oracle_detection_at_target": "the same at the target rate of the test images' own false alarms, at best",
    "region_recall": "share of the marked regions that an outline touches",
    "false_regions_per_good_image": "outlined regions on good images, a mean",
    "outlined_good_share": "share of the good images with an outline",
    **{
        f"{rate}_{end}": f"{word} end of its 95 % confidence interval, by Wilson"
        for rate in ("detection_rate", "false_alarm_rate")
        for end, word in (("low", "lower"), ("high", "upper"))
    },
}


def title(card: Card) -> str:
    """Return the method and the part, as the heading of pages and figures."""
    synthetic = f" ({SYNTHETIC})" if card.dataset == "demo" else ""
    return f"{METHODS[card.method].title} on {card.category}{synthetic}"


def decision_summary(scores: pd.DataFrame, card: Card) -> str:
    """Return the sentence on all decisions."""
    return summary(scores["label"], found_anomalous(scores["score"], card.decision.image.value))


def undefined_reasons(table: pd.DataFrame, metrics: Metrics) -> list[str]:
    """Return the reasons why metrics are not defined, a line each."""
    if not table["images"].iloc[-1]:
        return ["no defective test images: AUROC, AP, AUPRO, IoU and the detection rate are not defined"]
    reasons = []
    if metrics["image_auroc"] is None:
        reasons.append("no good test images: AUROC and AP of images and the false-alarm rate are not defined")
    if metrics["pixel_auroc"] is None:
        reasons.append("no defect is marked by a mask: metrics of images only")
    return reasons


def cost_line(metrics: Metrics) -> str:
    """Return training time, throughput and memory as one line."""
    memory = metrics["peak_memory_mib"]
    return (
        f"trained in {written(metrics['train_seconds'], '.0f')} s, {written(metrics['images_per_second'], '.1f')} "
        f"images per second, peak memory {written(memory and memory / 1024, '.1f')} GiB"
    )


def written(value: float | None, how: str) -> str:
    """Return a number in the given format; `-` for None."""
    return "-" if value is None else format(value, how)


def metrics_table(metrics: Metrics, scores: pd.DataFrame, masks: np.ndarray) -> pd.DataFrame:
    """Return a line per metric: its value, the images behind it, and what it says.

    Args:
        metrics: of the whole test set; None where a metric is not defined.
        scores: one line per test image.
        masks: bool [N_test, H, W].
    """
    defective = int((scores["label"] == 1).sum())
    good = len(scores) - defective
    regions = [ndimage.label(mask, EIGHT_CONNECTED)[1] for mask in masks if mask.any()]
    both, marked = f"{good} good, {defective} defective images", f"in {_count(len(regions), 'image')}"
    pixels = f"pixels of {_count(len(scores), 'image')}, defects marked {marked}"
    behind = {
        "detection_rate": _count(defective, "defective image"),
        "false_alarm_rate": _count(good, "good image"),
        "best_iou": f"defects marked {marked}",
        **{f"detection_rate_{end}": _count(defective, "defective image") for end in ("low", "high")},
        **{f"false_alarm_rate_{end}": _count(good, "good image") for end in ("low", "high")},
        **dict.fromkeys(("false_regions_per_good_image", "outlined_good_share"), _count(good, "good image")),
        "oracle_detection_at_target": both,
        "region_recall": f"{_count(sum(regions), 'marked region')} {marked}",
        **dict.fromkeys(("image_auroc", "image_ap", "image_f1max"), both),
        **dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1max"), pixels),
        **dict.fromkeys(
            ("aupro_0.30", "aupro_0.05", "aupro_as_published"),
            f"{_count(sum(regions), 'marked region')} {marked}, good pixels of {_count(len(scores), 'image')}",
        ),
    }
    names = [name for name in metrics if name not in COSTS]
    return pd.DataFrame(
        {
            "metric": [label(name) for name in names],
            "value": pd.Series([metrics[name] for name in names], dtype=float),
            "test images behind it": [behind.get(name, "") for name in names],
            "what it says": [_MEANINGS.get(name, "") for name in names],
        }
    )


def defects_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of kinds of defect with names of columns as a reader says them."""
    return table.rename(columns={name: label(str(name)) for name in table.columns})


def threshold_lines(card: Card) -> list[str]:
    """Return where each threshold comes from, and how uncertain its false-positive rate is."""
    entries = {"Images": card.decision.image, "Outlines": card.decision.pixel}
    lines = [f"{name}: {entry.note or f'threshold {entry.value:.6g}'}" for name, entry in entries.items()]
    if outliers := card.decision.image.outliers:
        lines.append(f"Check among the good images: {', '.join(outliers)}, too far from the others to count.")
    return lines


def parameters(card: Card, groups: Mapping[str, Parameters]) -> list[tuple[str, Setting]]:
    """Return all parameters, each with its group: those of the method, and the given ones.

    Args:
        card: the detector's, with the parameters of its method.
        groups: further groups by name.
    """
    found = [(card.method, setting) for setting in settings(METHODS[card.method].Parameters, card.parameters)]
    for name, group in groups.items():
        found += [(name, setting) for setting in settings(type(group), group.model_dump(mode="json"))]
    return found


def settings_table(listed: list[tuple[str, Setting]]) -> pd.DataFrame:
    """Return a line per parameter: its name, value, default and meaning."""
    return pd.DataFrame(
        {
            "parameter": [f"{group}.{setting.name}" for group, setting in listed],
            "this run": [_value(setting.value) for _, setting in listed],
            "default": [_value(setting.default) for _, setting in listed],
            "meaning": [setting.meaning for _, setting in listed],
        }
    )


def split_table(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of good and defective images by split."""
    splits = [name for name in ("train", "validation", "test") if (samples["split"] == name).any()]
    counts = {
        name: [int(((samples["split"] == split) & (samples["label"] == value)).sum()) for split in splits]
        for value, name in enumerate(("good", "defective"))
    }
    return pd.DataFrame({"split": splits, **counts})


def data_facts(card: Card, samples: pd.DataFrame) -> list[Fact]:
    """Return size and digest of the data."""
    height, width = card.image_size
    sizes = sorted(set(zip(samples["height"], samples["width"], strict=True)))
    photographs = f"{sizes[0][0]} x {sizes[0][1]} px" if len(sizes) == 1 else f"{len(sizes)} different sizes"
    return [
        Fact("Image size", f"{height} x {width} px (height x width), from photographs of {photographs}"),
        Fact("Digest of the data", card.data_digest or "-"),
    ]


def detector_facts(card: Card, metrics: Metrics, links: Mapping[str, str]) -> list[Fact]:
    """Return network, device, precision, versions and cost of the detector, and where it lies."""
    made = card.backbone
    facts = [
        Fact("Frozen network", f"{made.backbone}, layers {', '.join(made.layers)}"),
        Fact("Its weights", f"{made.source}, sha256 {made.weights}"),
        Fact("Image score", card.image_score.rule or "-"),
        Fact("Trained on", f"{card.device or 'a device that is not known'} in {card.precision or 'fp32'}"),
        Fact("Cost", cost_line(metrics)),
        Fact("Versions", ", ".join(f"{name} {number}" for name, number in card.versions.items()) or "-"),
    ]
    if "detector" in links:
        facts.append(Fact("Folder", links["detector"], links.get("detector_link", "")))
    if "mlflow" in links:
        command = links.get("mlflow_command")
        more = f", once {command} runs in the project's folder" if command else ""
        facts.append(Fact("MLflow", "this run", links["mlflow"], more))
    return facts


def _value(value: Any) -> str:
    """Return a JSON value as it stands in the files of parameters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
