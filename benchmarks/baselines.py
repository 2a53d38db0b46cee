"""PaDiM and PatchCore on the same backbone, images and metrics as a finished run, to compare with.

    python benchmarks/baselines.py --part demo/cable [--part folder/kolektorsdd ...]

Reads the arrays that a run of `kedro run --pipelines=dfc` left in data/; writes benchmarks/results/baselines.json.
Both are written here in their plain form: PaDiM (Defard et al. 2021) with a full Gaussian per position, 0.01 added to
the diagonal; PatchCore (Roth et al. 2022) with 3x3 average pooling, a greedy coreset of 2,000 patches out of 30,000,
nearest neighbour, sigma 4. Image scores: maximum of the map, for PaDiM after sigma 4 as in its paper.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from discrepancy.features.backbones import build_backbone
from discrepancy.methods.smoothing import gaussian_blur
from discrepancy.metrics import evaluate

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/baselines.json"
LAYERS = ["blocks.2", "blocks.4"]


def patches(images: NDArray[np.uint8], *, pool: bool) -> Tensor:
    """Features of both layers on the finer layer's grid, [N, C, h, w]."""
    backbone = build_backbone("tf_efficientnet_lite0", layers=LAYERS, padding="reflect")
    parts = []
    for start in range(0, len(images), 16):
        maps = list(backbone(torch.from_numpy(np.array(images[start : start + 16]))).values())
        maps = [F.avg_pool2d(m, 3, 1, 1) for m in maps] if pool else maps
        parts.append(torch.cat([F.interpolate(m, maps[0].shape[-2:], mode="bilinear") for m in maps], 1))
    return torch.cat(parts)


def padim(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> Tensor:
    """Mahalanobis distance to the Gaussian of each position, [N, h, w]."""
    good = patches(train, pool=False)
    mean = good.mean(0)
    count, channels, height, width = good.shape
    centred = (good - mean).permute(2, 3, 1, 0).reshape(height * width, channels, count)
    covariance = centred @ centred.transpose(1, 2) / (count - 1) + 0.01 * torch.eye(channels)
    factor = torch.linalg.cholesky(covariance)
    residual = (patches(test, pool=False) - mean).permute(2, 3, 1, 0).reshape(height * width, channels, -1)
    white = torch.linalg.solve_triangular(factor, residual, upper=False)
    return white.square().sum(1).sqrt().T.reshape(-1, height, width)


def patchcore(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> Tensor:
    """Distance to the nearest patch of a coreset of good patches, [N, h, w]."""
    generator = torch.Generator().manual_seed(0)
    good = patches(train, pool=True).permute(0, 2, 3, 1).flatten(0, 2)
    good = good[torch.randperm(len(good), generator=generator)[:30_000]]
    projected = good @ torch.randn(good.shape[1], 64, generator=generator)
    chosen, nearest = [0], torch.full((len(good),), torch.inf)
    for _ in range(min(2_000, len(good)) - 1):
        nearest = torch.minimum(nearest, (projected - projected[chosen[-1]]).square().sum(1))
        chosen.append(int(nearest.argmax()))
    bank = good[chosen]
    maps = [
        torch.cdist(m.permute(1, 2, 0).flatten(0, 1), bank).amin(1).reshape(m.shape[-2:])
        for m in patches(test, pool=True)
    ]
    return torch.stack(maps)


def measure(
    part: str, name: str, method: Callable[[NDArray[np.uint8], NDArray[np.uint8]], Tensor]
) -> dict[str, object]:
    """Metrics of one method on one part; seconds are those of fitting and scoring together."""
    samples = pd.read_csv(ROOT / f"data/02_intermediate/{part}/samples.csv", keep_default_na=False)
    images = np.load(ROOT / f"data/03_primary/{part}/images.npy", mmap_mode="r")
    masks = np.load(ROOT / f"data/03_primary/{part}/masks.npy")
    good, test = (samples["split"] == "train").to_numpy(), (samples["split"] == "test").to_numpy()
    began = time.perf_counter()
    coarse = method(images[good], images[test])
    maps = F.interpolate(coarse[:, None], images.shape[2:], mode="bilinear")[:, 0]
    smooth = gaussian_blur(maps, 4.0)
    maps = smooth if name == "patchcore" else maps
    seconds = time.perf_counter() - began
    values = evaluate(maps.numpy(), masks, samples["label"][test].to_numpy(), smooth.flatten(1).amax(1).numpy())
    return {"part": part, "method": name, **values, "fit_and_score_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", required=True, help="<dataset>/<category> of a finished run")
    rows = [
        measure(part, name, method)
        for part in parser.parse_args().part
        for name, method in (("padim", padim), ("patchcore", patchcore))
    ]
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).round(3).to_string(index=False))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
