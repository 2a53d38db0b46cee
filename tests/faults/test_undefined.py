"""What a test set does not define is `-` in the summary, with the reason, and no number anywhere."""

import io
import math
import re
import warnings

import numpy as np
import pandas as pd
import pytest

from discrepancy.detection import ScoredMaps
from discrepancy.figures.curves import loss_figure
from discrepancy.methods.card import Card
from discrepancy.metrics import best_iou, evaluate
from discrepancy.pipelines.reporting.nodes import draw_curves, draw_gallery, draw_scores, summarise, tabulate
from discrepancy.pipelines.reporting.parameters import ReportingParameters

CARD = Card.read(
    {
        "method": "dfc",
        "parameters": {},
        "backbone": {"backbone": "vgg19", "layers": ["relu1_1"], "weights": "0" * 64},
        "image_size": [8, 8],
        "image_score": {"sigma": 0.0},
        "category": "gear",
        "thresholds": {"image": {"value": 0.5, "note": "x"}, "pixel": {"value": 0.5}},
    }
)
NOT_COUNTED = {"train_seconds": 3.0, "images_per_second": None, "peak_memory_mib": None}


def scored(labels, *, marked=True, constant=False):
    """Maps, masks, scores and metrics of a test set, as the steps hand them on."""
    labels = np.array(labels)
    rng = np.random.default_rng(0)
    maps = np.full((len(labels), 8, 8), 0.3, np.float32) if constant else rng.random((len(labels), 8, 8), np.float32)
    masks = np.zeros(maps.shape, bool)
    if marked:
        masks[labels == 1, 2:4, 2:5] = True
    scores = maps.max(axis=(1, 2)).astype(float)
    decision = np.where(scores > 0.5, "anomalous", "good")
    kinds = np.where(labels, "dent", "good")
    table = pd.DataFrame({"image": "a.png", "defect": kinds, "label": labels, "score": scores, "decision": decision})
    values = evaluate(maps, masks, labels, scores) | {"best_iou": best_iou(maps, masks) if masks.any() else math.nan}
    metrics = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return ScoredMaps(maps, scores, 1.0), masks, table, metrics | NOT_COUNTED


NONE = {"image_auroc", "image_ap", "pixel_auroc", "aupro_0.30", "best_iou"}
CASES = {
    "no good": ([1, 1], {}, {"image_auroc", "image_ap"}, "no good test images"),
    "no defective": ([0, 0, 0], {}, NONE, "no defective test images"),
    "no masks": ([0, 1], {"marked": False}, NONE - {"image_auroc", "image_ap"}, "no defect is marked by a mask"),
    "neither": ([1, 1], {"marked": False}, NONE, "no good test images"),
    "one good": ([0], {}, NONE, "no defective test images"),
    "one defective": ([1], {}, {"image_auroc", "image_ap"}, "no good test images"),
    "constant scores": ([0, 1], {"constant": True}, set(), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_defined_is_a_dash_with_its_reason(case):
    labels, how, undefined, reason = CASES[case]
    maps, masks, table, metrics = scored(labels, **how)
    text = summarise(tabulate(maps, masks, table, metrics), metrics, CARD)
    for name in NONE:
        written = re.search(rf"\b{re.escape(name)} (-|[01]\.\d+)(\s|$)", text)[1]
        assert (written == "-") == (name in undefined) == (metrics[name] is None)
    assert reason in text and ("not defined" in text or "images only" in text) == bool(reason)
    assert "nan" not in text and "None" not in text
    assert "trained in 3 s, - images per second, peak memory - GiB" in text


def test_constant_scores_are_worth_what_guessing_is():
    metrics = scored([0, 1], constant=True)[-1]
    assert metrics["image_auroc"] == metrics["pixel_auroc"] == 0.5


def test_nothing_to_find_is_not_found_nought():
    maps, masks, table, metrics = scored([0, 0])
    assert tabulate(maps, masks, table, metrics)["found"].tolist() == [None]
    maps, masks, table, metrics = scored([0, 1])
    assert tabulate(maps, masks, table, metrics)["found"].tolist() == [1, 1]


@pytest.mark.parametrize("case", CASES)
def test_figures_show_no_number_that_is_none(case):
    labels, how, *_ = CASES[case]
    maps, masks, table, metrics = scored(labels, **how)
    images = np.zeros((len(labels), 3, 8, 8), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [
            *draw_curves(maps, masks, table, metrics),
            draw_scores(table, CARD),
            draw_gallery(images, masks, maps, table, CARD, ReportingParameters()),
            loss_figure(pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "validation_loss": [np.nan] * 2})),
        ]
        for figure in figures:
            figure.savefig(io.BytesIO())
    texts = [t.get_text() for figure in figures for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
    assert not [text for text in texts if re.search(r"\bnan\b|None|AUROC -|AUPRO@\S+ -", text)]
    assert "validation" not in texts
