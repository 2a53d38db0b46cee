"""The table of kinds of defect: each against all good images, and a line for the whole."""

import numpy as np
import pandas as pd
import pytest

from discrepancy.detection import ScoredMaps
from discrepancy.metrics import aupro, auroc
from discrepancy.pipelines.reporting.nodes import tabulate

DEFECTS = ["hole", "cut", "good", "cut", "stain", "good"]  # the stain's mask is empty
METRICS = {"image_auroc": 0.1, "pixel_auroc": 0.2, "aupro_0.30": 0.3, "best_iou": 0.4}


def scored(maps):
    return ScoredMaps(maps, maps.max(axis=(1, 2)), 1.0)


@pytest.fixture
def case():
    """Maps, masks, and the lines of the images."""
    rng = np.random.default_rng(0)
    maps = rng.random((6, 16, 16)).astype(np.float32).round(2)
    masks = np.zeros(maps.shape, bool)
    masks[[0, 1, 3], 2:5, 3:9] = True
    maps[masks] += 0.3
    scores = pd.DataFrame({"defect": DEFECTS, "score": maps.max(axis=(1, 2))})
    scores["label"] = (scores["defect"] != "good").astype(int)
    scores["decision"] = ["anomalous", "good", "anomalous", "anomalous", "good", "good"]
    return maps, masks, scores


def test_each_kind_stands_against_all_good_images(case):
    maps, masks, scores = case
    table = tabulate(scored(maps), masks, scores, METRICS).set_index("defect")
    assert list(table.index) == ["cut", "hole", "stain", "all"]
    assert list(table["images"]) == [2, 1, 1, 4] and list(table["found"]) == [1, 1, 0, 2]
    for kind, rows in (("cut", [1, 2, 3, 5]), ("hole", [0, 2, 5]), ("stain", [2, 4, 5])):
        line, part = table.loc[kind], scores.iloc[rows]
        assert line["image_auroc"] == auroc(part["score"], part["label"])
        if kind != "stain":
            assert line["pixel_auroc"] == auroc(maps[rows], masks[rows])
            assert line["aupro_0.30"] == aupro(maps[rows], masks[rows])
    assert table.loc["stain", ["pixel_auroc", "aupro_0.30"]].isna().all()
    assert list(table.loc["all", ["image_auroc", "pixel_auroc", "aupro_0.30"]]) == [0.1, 0.2, 0.3]


def test_without_good_images_nothing_is_said_of_whole_images(case):
    maps, masks, scores = case
    kept = [0, 1, 3, 4]
    table = tabulate(scored(maps[kept]), masks[kept], scores.iloc[kept].reset_index(drop=True), METRICS).set_index(
        "defect"
    )
    assert table.loc[["cut", "hole", "stain"], "image_auroc"].isna().all()
    assert table.loc["cut", "pixel_auroc"] == auroc(maps[[1, 3]], masks[[1, 3]])


def test_without_defects_only_the_whole_is_left(case):
    maps, masks, scores = case
    table = tabulate(scored(maps[[2, 5]]), masks[[2, 5]], scores.iloc[[2, 5]], METRICS)
    assert list(table["defect"]) == ["all"] and list(table["images"]) == [0]
