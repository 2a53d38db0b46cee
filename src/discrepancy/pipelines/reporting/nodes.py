"""Nodes of the reporting pipeline: tables, curves, the gallery and the segmentations, the same for every method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from discrepancy.data.native_resolution import NativeResolutionMaps
from discrepancy.data.parameters import IngestionParameters
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.detection.thresholds import outlines
from discrepancy.figures.animation import animation
from discrepancy.figures.curves import Roc, loss_figure, pro_figure, roc_figure
from discrepancy.figures.gallery import choose_cases, gallery
from discrepancy.figures.overlays import Picture
from discrepancy.figures.scores import score_histogram
from discrepancy.figures.segmentation import Segmentations
from discrepancy.figures.tables import text_table
from discrepancy.methods.card import Card
from discrepancy.metrics import PixelMetrics, auroc, pixel_metrics_by_group, pro_curve, roc_curve
from discrepancy.pipelines.reporting.contents import cost_line, title, undefined_reasons, written
from discrepancy.pipelines.reporting.parameters import ReportingParameters


def tabulate(
    scored: ScoredMaps, masks: np.ndarray, scores: pd.DataFrame, metrics: dict[str, float | None]
) -> pd.DataFrame:
    """Compute one line per kind of defect against all good test images, and one for the whole category.

    Args:
        scored: the test images' maps and scores.
        masks: bool [N_test, H, W].
        scores: one line per test image.
        metrics: of the whole test set.
    """
    good = (scores["label"] == 0).to_numpy()
    kinds = scores["defect"].astype(str).to_numpy()
    pixels = pixel_metrics_by_group(
        scored.maps, masks, [None if same else kind for same, kind in zip(good, kinds, strict=True)]
    )
    lines = [_line(kind, scores[good | (kinds == kind)], pixels[kind]) for kind in sorted(pixels)]
    names = ["image_auroc", "pixel_auroc", "aupro_0.30"]
    whole: dict[str, Any] = {"defect": "all", "images": int((~good).sum()), **{name: metrics[name] for name in names}}
    whole["found"] = int((scores["decision"][~good] == "anomalous").sum()) if not good.all() else None
    return pd.DataFrame([*lines, whole])


def _line(kind: str, part: pd.DataFrame, pixels: PixelMetrics) -> dict[str, Any]:
    """Return the line of a kind of defect, from the scores of its images and the good ones."""
    anomalous = part["label"] == 1
    return {
        "defect": kind,
        "images": int(anomalous.sum()),
        "image_auroc": auroc(part["score"], part["label"]) if not anomalous.all() else None,
        "pixel_auroc": pixels.auroc,
        "aupro_0.30": pixels.aupro,
        "found": int((part["decision"][anomalous] == "anomalous").sum()),
    }


def draw_gallery(
    images: np.ndarray,
    masks: np.ndarray,
    scored: ScoredMaps,
    scores: pd.DataFrame,
    card: Card,
    parameters: ReportingParameters,
) -> Figure:
    """Draw photograph, ground truth, anomaly map and detected outline of the hardest and the clearest test images.

    Args:
        images: uint8 [N, 3, H, W]; the test images come last.
        masks: bool [N_test, H, W].
        scored: the test images' maps and scores.
        scores: one line per test image.
        card: the detector's.
        parameters: number of cases.
    """
    thresholds, maps = card.decision, scored.maps
    sections = choose_cases(
        scores["score"],
        scores["label"],
        worst=parameters.worst,
        best=parameters.best,
        threshold=thresholds.image.value,
    )
    return gallery(
        images[len(images) - len(maps) :],
        masks,
        maps,
        scores,
        found=outlines(scored, card),
        level=thresholds.pixel.segmentation.low,
        image_threshold=thresholds.image.value,
        sections=sections,
        title=title(card),
    )


def draw_segmentations(
    images: np.ndarray, scored: ScoredMaps, scores: pd.DataFrame, card: Card, parameters: ReportingParameters
) -> Iterable[tuple[str, Picture]]:
    """Draw score map, binary map and outline of each test image while saving; nothing if not requested.

    Args:
        images: uint8 [N, 3, H, W]; the test images come last.
        scored: the test images' maps and scores.
        scores: one line per test image.
        card: the detector's.
        parameters: whether to write them.
    """
    if not parameters.segmentations:
        return ()
    level = card.decision.pixel.segmentation.low
    return Segmentations(images, scored.maps, list(scores["image"]), outlines(scored, card), level)


def resize_maps(
    scored: ScoredMaps, samples: pd.DataFrame, ingestion: IngestionParameters, parameters: ReportingParameters
) -> Iterable[tuple[str, np.ndarray]]:
    """Return each test image's raw anomaly map at its photograph's size, computed while saving.

    Nothing is returned unless requested.

    Args:
        scored: the test images' maps and scores.
        samples: the sample table.
        ingestion: geometry of the networks' input.
        parameters: whether to write them.
    """
    if not parameters.original_maps:
        return ()
    test = samples[samples["split"] == "test"]
    sizes = list(zip(test["height"], test["width"], strict=True))
    return NativeResolutionMaps(scored.maps, list(test["image"]), sizes, ingestion.resize_crop)


def draw_curves(
    scored: ScoredMaps, masks: np.ndarray, scores: pd.DataFrame, metrics: dict[str, float | None]
) -> tuple[Figure, Figure]:
    """Draw the ROC curves of images and pixels, and the PRO curve.

    Args:
        scored: the test images' maps and scores.
        masks: bool [N_test, H, W].
        scores: one line per test image.
        metrics: of the whole test set: the areas under the curves, None where there is no curve.
    """
    image = pixel = None
    if (area := metrics["image_auroc"]) is not None:
        image = Roc(*roc_curve(scores["score"], scores["label"]), area)
    if (area := metrics["pixel_auroc"]) is not None:
        pixel = Roc(*roc_curve(scored.maps, masks), area)
    overlap = metrics["aupro_0.30"]
    pro = pro_figure([], [], float("nan")) if overlap is None else pro_figure(*pro_curve(scored.maps, masks), overlap)
    return roc_figure(image, pixel), pro


def draw_scores(scores: pd.DataFrame, card: Card) -> Figure:
    """Draw image scores of good and defective test images, and the threshold."""
    threshold = card.decision.image.value
    return score_histogram(scores["score"], scores["label"], threshold, defects=list(scores["defect"]))


def draw_loss(history: pd.DataFrame) -> Figure:
    """Draw training and validation loss per epoch."""
    return loss_figure(history[["epoch", "loss", "validation_loss"]])


def summarise(table: pd.DataFrame, metrics: dict[str, float | None], card: Card) -> str:
    """Return the summary lines of a run; undefined values are `-`, with the reason."""
    shown = ("image_auroc", "image_ap", "pixel_auroc", "aupro_0.30", "aupro_as_published", "best_iou")
    names = [name for name in shown if name in metrics]
    lines = [
        "   ".join(f"{name} {written(metrics[name], '.3f')}" for name in names),
        *undefined_reasons(table, metrics),
    ]
    lines.append(cost_line(metrics))
    lines.append(f"image {card.decision.image.note}")
    return "\n".join([title(card), "", text_table(table), "", *lines, ""])


def animate(
    images: np.ndarray, scored: ScoredMaps, scores: pd.DataFrame, card: Card, parameters: ReportingParameters
) -> Iterable[tuple[str, bytes]]:
    """Draw photograph, anomaly map and decision of the test images as an animated GIF; nothing if not requested.

    Args:
        images: uint8 [N, 3, H, W]; the test images come last.
        scored: the test images' maps and scores.
        scores: one line per test image.
        card: the detector's.
        parameters: whether to draw it.
    """
    if not parameters.animation:
        return ()
    thresholds, maps = card.decision, scored.maps
    film = animation(
        images[len(images) - len(maps) :],
        maps,
        scores,
        outlines(scored, card),
        level=thresholds.pixel.segmentation.low,
        image_threshold=thresholds.image.value,
        title=title(card),
    )
    return [("animation.gif", film)]
