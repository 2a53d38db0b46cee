"""Made-up results of a benchmark, for tests only: none of these numbers was measured."""

import random

import pandas as pd

DEMO = ("cable", "gear", "weave")
MVTEC = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
)
METRICS = (
    *("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max"),
    *("aupro_0.30", "aupro_0.05", "best_iou", "detection_rate", "false_alarm_rate"),
)
COSTS = ("train_seconds", "images_per_second", "peak_memory_mib")


def made_up_results(dataset="demo", categories=DEMO, methods=("dfc", "dfr", "fod"), seeds=(0, 1), *, failed=()):
    """One row per trial; those in `failed`, (category, method, seed) each, have a reason in place of numbers."""
    chance = random.Random(0)
    rows = []
    for category in categories:
        difficulty = chance.uniform(0, 0.2)
        for method in methods:
            for seed in seeds:
                base = 1 - difficulty - 0.015 * methods.index(method)
                row = {"dataset": dataset, "category": category, "method": method, "seed": seed}
                row |= {"state": "done", "reason": ""}
                row |= {name: min(1.0, max(0.0, base + chance.gauss(0, 0.01))) for name in METRICS}
                row |= {"train_seconds": chance.uniform(50, 1500), "images_per_second": chance.uniform(8, 25)}
                row |= {"peak_memory_mib": chance.uniform(900, 1750)}
                if (category, method, seed) in failed:
                    row |= {"state": "failed", "reason": "the loss is not finite in epoch 3"}
                    row |= dict.fromkeys((*METRICS, *COSTS), float("nan"))
                rows.append(row)
    return pd.DataFrame(rows)
