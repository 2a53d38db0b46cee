"""How long `evaluate` takes, next to `np.sort` of the same pixels; how much memory; how exact.

    python benchmarks/metrics_speed.py [--images 100 --size 256 --anomalous 0.01 --repeats 9 --out FILE]

Targets: all metrics in at most 5 times the sort, at most 150 MB beside the input, AUPRO within 1e-10 of a float64
argsort reference. The exit status is 1 where one is missed. Writes benchmarks/results/metrics_speed.json.

What has to be done for n = 6.55 million float32 pixels, P = 1 % of them anomalous: copy 26 MB and sort them
(n log2 n = 148 million comparisons), read the masks four times (26 MB), order P values (1 million comparisons) and
search for them (P log2 n = 1.5 million steps, along the array, so in cache), label the boxes around the defects.
Beside the sort that is little: the aim is a factor well below 2.

How fast np.sort itself is depends on the processor: numpy's AVX-512 sort is several times slower than its AVX2 sort
where compressing stores are microcoded (AMD Zen 4; numpy pull request 32690).
NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL" makes numpy take the AVX2 sort, which is also the harder yardstick.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discrepancy.metrics import best_iou, evaluate

TARGETS = {"ratio": 5.0, "extra_mb": 150.0, "aupro_error": 1e-10}
LEVELS = 1000


def make_maps(images: int, size: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Render smooth maps with noise `[N, H, W]`; 70 % of the images hold three elliptic defects each."""
    rng = np.random.default_rng(0)
    maps = np.empty((images, size, size), np.float32)
    masks = np.zeros(maps.shape, bool)
    defective = max(1, round(0.7 * images))
    radius = np.sqrt(share * images * size * size / (3 * defective * np.pi))
    rows, columns = np.mgrid[:size, :size]
    for image in range(images):
        noise = rng.standard_normal((2, size, size)).astype(np.float32)
        maps[image] = 12 * ndimage.gaussian_filter(noise[0], 4) + 0.2 * noise[1]
        for _ in range(3 if image < defective else 0):
            row, column = rng.uniform(0.1 * size, 0.9 * size, 2)
            stretch = rng.uniform(0.7, 1.4)
            blob = ((rows - row) / stretch) ** 2 + ((columns - column) * stretch) ** 2 < radius**2
            masks[image] |= blob
            maps[image][blob] += rng.uniform(0.5, 2.0)
    return maps, masks


def reference(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> dict[str, float]:
    """The pixel metrics from one float64 argsort of all pixels and cumulative sums, another way than the package's."""
    weights = np.zeros(maps.shape)
    regions = 0
    for mask, weight in zip(masks, weights, strict=True):
        background_too, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel())
        weight[mask] = 1 / sizes[labels[mask]]
        regions += background_too - 1
    scores = maps.astype(np.float64).ravel()
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last of each tie
    positives = np.concatenate([[0], np.cumsum(masks.ravel()[order])[last]])
    negatives = np.concatenate([[0], last + 1]) - positives
    overlap = np.concatenate([[0], np.cumsum(weights.ravel()[order])[last]]) / regions
    rate, recall = negatives / negatives[-1], positives / positives[-1]
    precision = positives[1:] / (positives[1:] + negatives[1:])
    metrics = {
        "pixel_auroc": np.trapezoid(recall, rate),
        "pixel_ap": np.sum(np.diff(recall) * precision),
        "pixel_f1max": np.max(2 * positives[1:] / (positives[1:] + negatives[1:] + positives[-1])),
    }
    for limit in (0.30, 0.05):
        inside = np.searchsorted(rate, limit, side="right")
        y = np.append(
            overlap[:inside], np.interp(limit, rate[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
        )
        metrics[f"aupro_{limit:.2f}"] = np.trapezoid(y, np.append(rate[:inside], limit)) / limit
    return {name: float(value) for name, value in metrics.items()}


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_mb(call: Callable[[], object]) -> float:
    """Most memory in MB (1e6 bytes) that a call holds beside what was there before."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure(maps: NDArray[np.float32], masks: NDArray[np.bool_], repeats: int) -> dict[str, float]:
    """Time sort and evaluation in turn; compare the values with the reference."""
    labels, image_scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))

    def run() -> dict[str, float]:
        return evaluate(maps, masks, labels, image_scores)

    found = run()
    pairs = [(seconds(lambda: np.sort(maps, axis=None)), seconds(run)) for _ in range(repeats)]
    expected: dict[str, float] = {}
    reference_seconds = seconds(lambda: expected.update(reference(maps, masks)))
    errors = {name: abs(found[name] - value) for name, value in expected.items()}
    return {
        "sort_seconds": float(np.median([sort for sort, _ in pairs])),
        "evaluate_seconds": float(np.median([evaluation for _, evaluation in pairs])),
        "ratio": float(np.median([evaluation / sort for sort, evaluation in pairs])),
        "ratio_worst": max(evaluation / sort for sort, evaluation in pairs),
        "extra_mb": peak_mb(run),
        "aupro_error": max(errors["aupro_0.30"], errors["aupro_0.05"]),
        "other_error": max(errors["pixel_auroc"], errors["pixel_ap"], errors["pixel_f1max"]),
        "reference_seconds": reference_seconds,
        "best_iou_seconds": seconds(lambda: best_iou(maps, masks)),
    }


def processor() -> str:
    """Name of the processor, as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> int:
    """Measure, write the result file, print a table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=256, help="height and width of a map in pixels")
    parser.add_argument("--anomalous", type=float, default=0.01, help="share of anomalous pixels")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "metrics_speed.json")
    options = parser.parse_args()

    maps, masks = make_maps(options.images, options.size, options.anomalous)
    step = np.ptp(maps) / LEVELS
    kinds = {"continuous": maps, f"{LEVELS} levels": np.round(maps / step) * step}
    results = {kind: measure(scores, masks, options.repeats) for kind, scores in kinds.items()}
    met = all(result[name] <= limit for result in results.values() for name, limit in TARGETS.items())
    report = {
        "images": options.images,
        "size": options.size,
        "anomalous": float(masks.mean()),
        "repeats": options.repeats,
        "processor": processor(),
        "numpy": np.__version__,
        "disabled_cpu_features": os.environ.get("NPY_DISABLE_CPU_FEATURES", ""),
        "targets": TARGETS,
        "targets_met": met,
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")

    write = sys.stdout.write
    write(f"{options.images} maps of {options.size}x{options.size}, {masks.mean():.2%} anomalous, {processor()}\n")
    write(f"{'scores':<12} {'sort s':>8} {'all s':>8} {'ratio':>6} {'extra MB':>9} {'AUPRO error':>12} {'IoU s':>7}\n")
    for kind, row in results.items():
        write(f"{kind:<12} {row['sort_seconds']:8.3f} {row['evaluate_seconds']:8.3f} {row['ratio']:6.2f} ")
        write(f"{row['extra_mb']:9.1f} {row['aupro_error']:12.1e} {row['best_iou_seconds']:7.3f}\n")
    write(f"targets {'met' if met else 'MISSED'}; written to {options.out}\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
