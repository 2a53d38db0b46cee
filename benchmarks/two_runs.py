"""What two trainings at once cost each other, and what the remedy costs one alone.

    python benchmarks/two_runs.py [--steps 12] [--rounds 3] [--spins 100 300 1000 3000 10000]

Times steps of DFC (defaults, 256x256, noise images) in processes of their own, alone and two at once, in rounds that
interleave the settings: libgomp's own, and `GOMP_SPINCOUNT` at several values. Writes benchmarks/results/two_runs.json:
`alone` is the time of a step relative to libgomp's own setting, `throughput` what two get done together relative to one
alone with libgomp's own setting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from discrepancy.waiting_threads import CHOICES, SPINS

RESULTS = Path(__file__).parent / "results/two_runs.json"
OWN = "libgomp's own"


def worker(steps: int) -> None:
    """Print the seconds of a step, the median, once a line on standard input says that all are ready."""
    import numpy as np
    import torch
    from training_step import build

    with tempfile.TemporaryDirectory() as folder:
        detector, task = build(256, Path(folder))
        optimiser = torch.optim.Adam(detector.estimator.parameters(), lr=1e-3)
        batch = task.batch(0, np.arange(task.examples))

        def step() -> float:
            began = time.perf_counter()
            optimiser.zero_grad()
            task.loss(batch).backward()
            optimiser.step()
            return time.perf_counter() - began

        step()
        print("ready", flush=True)  # noqa: T201 (to the parent)
        sys.stdin.readline()
        print(statistics.median(step() for _ in range(steps)), flush=True)  # noqa: T201


def run(setting: str, count: int, steps: int) -> list[float]:
    """Return the seconds of a step in each of `count` processes at once."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    if setting == OWN:
        environment["GOMP_SPINCOUNT"] = "300000"  # what libgomp takes where no more threads run than there are cores
    else:
        environment["GOMP_SPINCOUNT"] = setting
    command = [sys.executable, __file__, "--worker", "--steps", str(steps)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append(float(process.stdout.readline()))
        process.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spins", nargs="*", default=["100", "300", str(SPINS), "3000", "10000"])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.steps)
        return
    settings = [OWN, *options.spins]
    alone: dict[str, list[float]] = {setting: [] for setting in settings}
    together: dict[str, list[float]] = {setting: [] for setting in settings}
    for _ in range(options.rounds):
        for setting in settings:
            alone[setting] += run(setting, 1, options.steps)
            together[setting] += run(setting, 2, options.steps)
    base = statistics.median(alone[OWN])
    report = {
        "cores": os.cpu_count(),
        "default": SPINS,
        "settings": {
            setting: {
                "alone": statistics.median(alone[setting]) / base,
                "throughput": 2 * base / statistics.median(together[setting]),
                "alone_seconds": statistics.median(alone[setting]),
                "together_seconds": statistics.median(together[setting]),
            }
            for setting in settings
        },
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
