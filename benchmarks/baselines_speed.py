"""How long PaDiM and PatchCore take to fit, from cached features, and how much memory.

    python benchmarks/baselines_speed.py [--images 300 --size 256 --category cable --out FILE]

Renders a demo category, caches its features and fits each method in a process of its own. Targets for 300 images of
256x256: PaDiM in 15 s, PatchCore with its coreset of 1 % in 60 s, of all cores together, as the clock on the wall tells
what else the machine does; 2000 MiB. The exit status is 1 where one is missed. Writes
benchmarks/results/baselines_speed.json.

What has to be done, with 1024 positions (32x32):
    PaDiM: products of 300 vectors of 100 channels at each, 6 GFLOP, into 41 MB that are read and written once for each
        batch of 16 images; a Cholesky factor and its inverse at each, 0.7 GFLOP.
    PatchCore: 307,200 patches, 3,072 to be chosen. With all distances to each, projected to 64 numbers, that is
        121 GFLOP, but 242 GB read from memory. The triangle inequality leaves all but one in twenty of them out.

Beside each, in the same process, the plain way: `np.cov` and an inverse at each position, and a greedy choice by all
distances (timed over a hundred choices).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from discrepancy.demo.dataset import render_category
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache, Features
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import Method, TrainingData, new_card
from discrepancy.methods.padim.model import PaDiM
from discrepancy.methods.patchcore.coreset import greedy_k_center
from discrepancy.methods.patchcore.model import PatchCore

TARGETS = {"padim": {"core_seconds": 15.0, "mib": 2000.0}, "patchcore": {"core_seconds": 60.0, "mib": 2000.0}}
STEPS = 100


def rendered(category: str, images: int, size: int) -> np.ndarray:
    """Good photographs of a demo category, uint8 [N, 3, H, W]."""
    with tempfile.TemporaryDirectory() as folder:
        place = render_category(Path(folder), category, size=size, train=images, test_good=1, test_defective=1)
        return np.stack([np.array(Image.open(path)).transpose(2, 0, 1) for path in sorted(place.glob("train/good/*"))])


def cached(images: np.ndarray, root: Path) -> Features:
    """Features of the embedded backbone's two default layers, which both methods use."""
    recipe = lazy_features(build_backbone("tf_efficientnet_lite0"), images, [str(i) for i in range(len(images))])
    return FeatureCache(root).get(recipe, progress=False)


class Cost(NamedTuple):
    """Wall-clock seconds, and seconds of all cores together, which other work on the machine hardly changes."""

    seconds: float
    core_seconds: float


def cost(call: Callable[[], object], *, times: float = 1) -> Cost:
    """Cost of one call, or of so many."""
    began = time.perf_counter(), time.process_time()
    call()
    return Cost(times * (time.perf_counter() - began[0]), times * (time.process_time() - began[1]))


def peak_mib() -> float:
    """Most memory that this process has held so far, libraries and memory-mapped files included (Linux).

    Not `ru_maxrss`: a new process takes that over from the one that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(name: str, images: np.ndarray, root: Path, queue: multiprocessing.Queue) -> None:
    """Fit a method, then go the plain way."""
    features = cached(images, root)
    kind: type[Method] = {"padim": PaDiM, "patchcore": PatchCore}[name]
    parameters = kind.Parameters(device="cpu")
    backbone = build_backbone(parameters.backbone)
    entries = {"images": {"train": len(images)}, **kind.card_entries(parameters, {})}
    size = images.shape[2], images.shape[3]
    card = new_card(kind, parameters, backbone, image_size=size, data_digest="", **entries)
    detector: Any = kind(backbone, parameters, card)
    data, before = TrainingData(images, features, len(images)), peak_mib()
    ours, peak = cost(lambda: detector.fit(data)), peak_mib()
    plain = plain_padim(detector, data) if name == "padim" else plain_patchcore(detector, data)
    queue.put(
        {
            "method": name,
            **ours._asdict(),
            "mib": peak,
            "mib_before": before,
            **{f"plain_{key}": value for key, value in plain._asdict().items()},
            "ratio": plain.seconds / ours.seconds,
            "core_ratio": plain.core_seconds / ours.core_seconds,
        }
    )


def plain_padim(detector: PaDiM, data: TrainingData) -> Cost:
    """Cost of `np.cov` and an inverse at each position; all features in memory."""

    def run() -> None:
        batches = data.cached.batches(range(data.examples), torch.device("cpu"))
        vectors = torch.cat([detector.embedding(maps).flatten(1, 2) for maps in batches]).numpy()
        ridge = detector.parameters_used.ridge * np.eye(vectors.shape[2])
        for position in range(vectors.shape[1]):
            np.linalg.inv(np.cov(vectors[:, position].T) + ridge)

    return cost(run)


def plain_patchcore(detector: PatchCore, data: TrainingData) -> Cost:
    """Cost of a greedy choice that updates all distances for each patch that is chosen."""
    points = torch.from_numpy(detector._projected(data))
    squares = points.square().sum(1)

    def run() -> list[int]:
        nearest, chosen = torch.full((len(points),), torch.inf), [0]
        for _ in range(STEPS):
            last = chosen[-1]
            nearest = torch.minimum(nearest, squares - 2 * (points @ points[last]) + squares[last])
            chosen.append(int(nearest.argmax()))
        return chosen

    if greedy_k_center(points.numpy(), STEPS + 1).tolist() != run():
        raise RuntimeError("the two ways chose different patches")
    return cost(run, times=len(detector.memory) / STEPS)


def main() -> int:
    """Measure, write the result file, print a table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--size", type=int, default=256, help="height and width of the images, px")
    parser.add_argument("--category", default="cable")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "baselines_speed.json")
    options = parser.parse_args()

    images, rows = rendered(options.category, options.images, options.size), []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        cached(images, Path(folder))
        for name in TARGETS:
            queue = spawn.Queue()
            process = spawn.Process(target=measure, args=(name, images, Path(folder), queue))
            process.start()
            rows.append(queue.get())
            process.join()
    met = all(row[key] <= limit for row in rows for key, limit in TARGETS[row["method"]].items())
    report = {
        "images": options.images,
        "size": options.size,
        "category": options.category,
        "threads": torch.get_num_threads(),
        "targets": TARGETS,
        "targets_met": met,
        "results": rows,
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    write = sys.stdout.write
    write(f"{options.images} images of {options.size}x{options.size}, {options.category}\n")
    names = [
        "seconds",
        "core_seconds",
        "plain_seconds",
        "plain_core_seconds",
        "ratio",
        "core_ratio",
        "mib",
        "mib_before",
    ]
    write(f"{'method':<10}" + "".join(f" {name:>18}" for name in names) + "\n")
    for row in rows:
        write(f"{row['method']:<10}" + "".join(f" {row[name]:18.1f}" for name in names) + "\n")
    write(f"targets {'met' if met else 'MISSED'}; written to {options.out}\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
