"""A report of made-up results, as its node writes it."""

import numpy as np
import pandas as pd

from discrepancy.data.parameters import IngestionParameters
from discrepancy.detection import ScoredMaps
from discrepancy.methods.card import Card
from discrepancy.pipelines.reporting.page import write_report
from discrepancy.pipelines.reporting.parameters import ReportingParameters
from discrepancy.pipelines.scoring.parameters import ScoringParameters

SIDE = 48
LONG = "a_rather_long_name_of_a_kind_of_defect_without_any_space"
LINKS = {
    "date": "2026-03-04 05:06 UTC",
    "detector": "data/06_models/demo/gear/dfc/detector/v1/detector",
    "detector_link": "../detector/v1/detector",
    "mlflow": "http://127.0.0.1:5000/#/experiments/1/runs/abc",
    "mlflow_command": "mlflow ui --backend-store-uri sqlite:///mlflow.db",
}
NOTE = "threshold 0.5 from 3 held-out good images, 0 above it; target false-positive rate 1 %"


def made_up_card(**changes):
    values = {
        "method": "dfc",
        "parameters": {"backbone": "vgg19", "epochs": 3, "width": 64},
        "backbone": {"backbone": "vgg19", "layers": ["relu1_1"], "weights": "0" * 64},
        "image_size": [SIDE, SIDE],
        "image_score": {"sigma": 0.0},
        "dataset": "demo",
        "category": "gear",
        "data_digest": "a" * 64,
        "device": "cpu",
        "precision": "fp32",
        "versions": {"torch": "2.0"},
        "thresholds": {"image": {"value": 0.5, "note": NOTE}, "pixel": {"value": 0.5, "note": "x"}},
    }
    return Card.read(values | changes)


def made_up_test_set(good=12, defective=16, *, side=SIDE):
    """Photographs, masks, maps and scores; every fourth image is decided wrongly."""
    rng = np.random.default_rng(0)
    count = good + defective
    images = rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    labels = np.repeat([0, 1], [good, defective])
    masks = np.zeros((count, side, side), bool)
    masks[labels == 1, 8:20, 10:30] = True
    wrong = np.arange(count) % 4 == 0
    scores = np.where(labels.astype(bool) ^ wrong, 0.6, 0.2) + rng.random(count) * 0.2
    maps = (masks * scores[:, None, None] + rng.random(masks.shape) * 0.1).astype(np.float32)
    table = pd.DataFrame(
        {
            "image": [f"gear/test/{LONG if label else 'good'}/{i:03d}.png" for i, label in enumerate(labels)],
            "defect": np.where(labels == 1, LONG, "good"),
            "label": labels,
            "score": scores,
            "decision": np.where(scores > 0.5, "anomalous", "good"),
        }
    )
    return images, masks, ScoredMaps(maps, scores, 1.0), table


def made_up_report(*, card=None, metrics=None, links=LINKS, **figures):
    """The page as a text."""
    images, masks, scored, scores = made_up_test_set()
    test = scores.assign(split="test", height=100, width=120)
    train = pd.DataFrame({"split": ["train"] * 5 + ["validation"] * 3, "label": 0, "height": 100, "width": 120})
    values = {"image_auroc": 0.875, "pixel_auroc": 0.75, "aupro_0.30": 0.625, "detection_rate": 0.75}
    costs = {"train_seconds": 3.0, "images_per_second": 4.0, "peak_memory_mib": 1024.0}
    kinds = {"defect": [LONG, "all"], "images": [16, 16], "image_auroc": [0.875] * 2, "found": [12, 12]}
    drawing = np.full((530, 1100, 3), 255, np.uint8)
    return write_report(
        images=images,
        masks=masks,
        scored=scored,
        scores=scores,
        table=pd.DataFrame(kinds),
        metrics={**values, **(metrics or {}), **costs},
        samples=pd.concat([train, test], ignore_index=True),
        card=card or made_up_card(),
        run_links=links,
        ingestion=IngestionParameters(category="gear"),
        scoring=ScoringParameters(false_positive_rate=0.02),
        reporting=ReportingParameters(),
        gallery_figure=drawing,
        **{"roc_figure": drawing, "pro_figure": drawing[:, :700], "scores_figure": drawing, **figures},
    )
