"""How DFC's defaults were chosen: variants trained on good images, judged on defects painted on held-out good images.

    python benchmarks/design_study.py [--part demo/cable] [--epochs 40]

No test image is looked at. Of the good training images 60 % are trained on, 4 are for validation, the others are held
out; each is judged as it is and with one painted defect: a scratch, a displaced patch, a warp, a change of tone or a
blur, none of which is among the corruptions of the training. Reads the arrays that a run left in data/; writes
benchmarks/results/design_study.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import feature_recipe
from discrepancy.methods.detector import anomaly_maps, new_card
from discrepancy.methods.dfc import DFC, DFCProblem, build_corruption
from discrepancy.methods.dfc_parameters import DFCParameters
from discrepancy.methods.training import fit
from discrepancy.metrics import evaluate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/design_study.json"
CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "raw residuals": {"residuals": "raw", "by_position": False},
    "whitened, not by position": {"by_position": False},
    "by position, not whitened": {"residuals": "raw"},
    "batches of 8": {"batch_size": 8},
    "strokes as in the paper": {"stroke_margin": 40},
    "without corruptions": {"corrupted_weight": 0.0},
    "width 96": {"width": 96},
    "three layers": {"layers": ["blocks.2", "blocks.3", "blocks.4"]},
}


def paint(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A copy of an image [3, H, W] with one defect, and its mask [H, W]."""
    height, width = image.shape[1:]
    kind = rng.choice(["scratch", "patch", "warp", "tone", "blur"])
    y, x = int(rng.integers(8, height - 8)), int(rng.integers(8, width - 8))
    scale = min(height, width) / 256
    soft = np.zeros((height, width), np.float32)
    pixels = image.astype(np.float32)
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    if kind == "scratch":
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, rng.integers(4, 12)))
        steps = 6 * scale * np.stack([np.cos(angles), np.sin(angles)], 1)
        points = np.round(np.array([x, y]) + np.vstack([np.zeros((1, 2)), np.cumsum(steps, 0)])).astype(np.int32)
        cv2.polylines(soft, [points], False, (1.0,), int(rng.integers(1, 4)), cv2.LINE_AA)
        soft = cv2.GaussianBlur(soft, (0, 0), 0.6)
        other = np.full_like(rows, rows.mean() + rng.choice([-1, 1]) * rng.uniform(30, 80))
    else:
        axes = (int(rng.integers(5, 18) * scale) + 1, int(rng.integers(5, 18) * scale) + 1)
        cv2.ellipse(soft, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
        soft = cv2.GaussianBlur(soft, (0, 0), 1.0)
        if kind == "patch":
            other = np.roll(rows, (int(rng.integers(20, height - 20)), int(rng.integers(20, width - 20))), (0, 1))
        elif kind == "blur":
            other = cv2.GaussianBlur(rows, (0, 0), 4)
        elif kind == "tone":
            other = rows * (1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4))
        else:
            dx, dy = (np.float32(v) for v in rng.uniform(-8, 8, 2))
            grid_y, grid_x = np.mgrid[:height, :width].astype(np.float32)
            other = cv2.remap(rows, grid_x + dx, grid_y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    painted = rows + soft[..., None] * (other - rows)
    return np.clip(painted, 0, 255).round().astype(np.uint8).transpose(2, 0, 1), soft > 0.3


def judge(images: NDArray[np.uint8], changes: dict[str, object], epochs: int, cache: Path) -> dict[str, object]:
    """Train one variant on the first 60 % of the images, judge it on the last ones."""
    parameters = DFCParameters.model_validate({**changes, "epochs": epochs, "device": "cpu"})
    train = int(0.6 * len(images))
    good, held_out = images[: train + 4], images[train + 4 :]
    rng = np.random.default_rng(11)
    painted, masks = zip(*(paint(image, rng) for image in held_out), strict=True)
    backbone = build_backbone(parameters.backbone, layers=parameters.layers)
    features = FeatureCache(cache).get(feature_recipe(backbone, good, [str(i) for i in range(len(good))]))
    size = (images.shape[2], images.shape[3])
    card = new_card("dfc", {}, backbone, image_size=size, sigma=parameters.image_smoothing, data_digest="")
    detector = DFC(backbone, parameters, card)
    detector.set_statistics(features.channel_statistics())
    corruption = build_corruption(parameters, None)
    problem = DFCProblem(detector, good, features, examples=train, corruption=corruption)
    history = fit(detector.estimator, problem, parameters.training, device=CPU)
    detector.fit_weighing(good, features, range(train))
    both = np.concatenate([held_out, np.stack(painted)])
    maps = np.concatenate(list(anomaly_maps(detector, both, device=CPU)))
    every = np.concatenate([np.zeros((len(held_out), *size), bool), np.stack(masks)])
    labels = np.repeat([0, 1], len(held_out))
    values = evaluate(maps, every, labels, detector.image_scores(torch.from_numpy(maps)).numpy())
    names = ("image_auroc", "pixel_auroc", "aupro_0.30")
    seconds = sum(epoch.seconds for epoch in history)
    last = history[-1].validation_loss
    return {**{name: values[name] for name in names}, "validation_loss": last, "train_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="demo/cable", help="<dataset>/<category> of a finished run")
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    samples = pd.read_csv(ROOT / f"data/02_intermediate/{options.part}/samples.csv", keep_default_na=False)
    stored = np.load(ROOT / f"data/03_primary/{options.part}/images.npy", mmap_mode="r")
    images = np.array(stored[: int((samples["split"] != "test").sum())])
    with tempfile.TemporaryDirectory() as cache:
        rows = []
        for name, changes in VARIANTS.items():
            rows.append({"variant": name, **judge(images, changes, options.epochs, Path(cache))})
            report = {"part": options.part, "epochs": options.epochs, "variants": rows}
            RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).round(3).to_string(index=False))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
