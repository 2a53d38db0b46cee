"""What freed memory that stays with the process brings on a CPU, against glibc's own setting.

    python benchmarks/freed_memory.py [--images 64] [--rounds 5]

Times the extraction of features (EfficientNet-Lite0, batches of 16), scoring by DFC (batches of 16) and a training step
of DFC, on noise images of 256x256, in processes of their own that take turns. Writes
benchmarks/results/freed_memory.json: images per second of both, their ratio, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from discrepancy.freed_memory import CHOICES

RESULTS = Path(__file__).parent / "results/freed_memory.json"
SETTINGS = {"glibc's own": {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}, "kept": {}}
"""Variables of the environment; the tunable has its usual value, but counts as the user's choice."""
STEPS = 30


def worker(images: int) -> None:
    """Print images per second by task, and the peak memory in MiB."""
    import numpy as np
    import torch
    from training_step import build

    from discrepancy.detection.scoring import LazyScores
    from discrepancy.features.recipe import lazy_features

    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 256, 256), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        detector, task = build(256, Path(folder))
        batch = task.batch(0, np.arange(task.examples))
        optimiser = torch.optim.Adam(detector.estimator.parameters(), lr=1e-3)
        lazy = lazy_features(detector.backbone, pixels, [str(number) for number in range(images)])
        scores = LazyScores(detector, pixels, torch.device("cpu"))

        def train() -> None:
            for _ in range(STEPS):
                optimiser.zero_grad()
                task.loss(batch).backward()
                optimiser.step()

        found = {}
        for name, run, count in (
            ("training", train, STEPS * task.examples),
            ("extraction", lambda: list(lazy.pieces()), images),
            ("scoring", scores.computed, images),
        ):
            run()  # warm
            began = time.perf_counter()
            run()
            found[name] = count / (time.perf_counter() - began)
    found["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))  # noqa: T201 (to the parent)


def run(setting: str, images: int) -> dict[str, float]:
    """Return what a process with a setting has measured."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | SETTINGS[setting]
    command = [sys.executable, __file__, "--worker", "--images", str(images)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment, text=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.images)
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(options.rounds):
        for name, measured in rounds.items():
            measured.append(run(name, options.images))
    medians = {
        name: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for name, measured in rounds.items()
    }
    own, kept = medians.values()
    report = {
        "cores": len(os.sched_getaffinity(0)),
        "rounds": options.rounds,
        "settings": medians,
        "ratio": {key: kept[key] / own[key] for key in own},
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
