"""How far one training step of DFC is from what the processor can do.

    python benchmarks/training_step.py [--size 256] [--repeats 15]

Counts the floating-point operations of one step (default parameters, embedded backbone), times it beside a large fp32
matrix product, interleaved, and writes benchmarks/results/training_step.json. The corruptions, which worker threads
prepare meanwhile, are timed apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.dfc.model import DFC
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.dfc.training import DFCTask

RESULTS = Path(__file__).parent / "results/training_step.json"


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def build(size: int, folder: Path) -> tuple[DFC, DFCTask]:
    """A detector and its training task on noise images of size x size."""
    parameters = DFCParameters(device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (parameters.batch_size, 3, size, size), dtype=np.uint8)
    backbone = build_backbone(parameters.backbone)
    digests = [str(index) for index in range(len(images))]
    features = FeatureCache(folder).get(lazy_features(backbone, images, digests), progress=False)
    detector = DFC(backbone, parameters, new_card(DFC, parameters, backbone, image_size=(size, size), data_digest=""))
    return detector, detector.training_task(TrainingData(images, features, len(images)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        detector, task = build(options.size, Path(folder))
        optimiser = torch.optim.Adam(detector.estimator.parameters(), lr=1e-3)
        rows = np.arange(task.examples)
        batch = task.batch(0, rows)

        def step() -> None:
            optimiser.zero_grad()
            task.loss(batch).backward()
            optimiser.step()

        with FlopCounterMode(display=False) as counter:
            step()
        side = 2048
        matrix = torch.rand(side, side)
        times: dict[str, list[float]] = {"step": [], "product": [], "corruptions": []}
        for _ in range(options.repeats):
            times["step"].append(seconds(step))
            times["product"].append(seconds(lambda: matrix @ matrix))
            times["corruptions"].append(seconds(lambda: task.batch(0, rows)))
    median = {name: statistics.median(values) for name, values in times.items()}
    step_rate = counter.get_total_flops() / median["step"] / 1e9
    product_rate = 2 * side**3 / median["product"] / 1e9
    report = {
        "image_size": options.size,
        "images_per_step": 2 * task.examples,
        "gflop_per_step": counter.get_total_flops() / 1e9,
        "step_seconds": median["step"],
        "step_gflops": step_rate,
        "matrix_product_gflops": product_rate,
        "share_of_matrix_product": step_rate / product_rate,
        "corruption_seconds_per_step_one_thread": median["corruptions"],
        "threads": torch.get_num_threads(),
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
