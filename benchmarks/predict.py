"""Rate and memory of predictions on new photographs, beside the network alone.

    python benchmarks/predict.py --rate [--images 192 --rounds 3]
    python benchmarks/predict.py --memory [--counts 100 1000 10000]

`--rate` interleaves, in one process, the network on an array in memory, and the whole way from files: decoding,
resizing, the network, regions; then with overlays, and with thumbnails for the page. DFC with its defaults, 256x256.
The photographs are noisy stripes, as PNG files of 256x256 and of 1024x1024 px.

`--memory` starts processes that examine files of 64x64 px by PaDiM, and watches the memory that each needs (RssAnon).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scale import watched

from discrepancy.detection.scoring import LazyScores
from discrepancy.detection.storage import save_method
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import Method, TrainingData, new_card
from discrepancy.methods.parameters import MethodParameters
from discrepancy.methods.registry import METHODS
from discrepancy.prediction import Detector
from discrepancy.prediction.job import NamedFile, examine_files
from discrepancy.prediction.output import PictureWriter

RESULTS = Path(__file__).parent / "results"
BATCH = 16
WAYS: dict[str, tuple[str, ...]] = {
    "no pictures": (),
    "overlays": ("overlays",),
    "page": ("overlays", "thumbnails"),
}
"""Pictures that are written."""


def stripes(count: int, side: int) -> np.ndarray:
    """Return noisy stripes, uint8 [count, 3, side, side]."""
    rng = np.random.default_rng(0)
    wave = 128 + 80 * np.sin(np.arange(side) / 9 + rng.uniform(0, 6, (count, 1, 1)))
    noisy = wave + rng.normal(0, 4, (count, side, side))
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[:, None], 3, axis=1)


def write(images: np.ndarray, folder: Path, count: int) -> list[NamedFile]:
    """Write photographs as PNG files, the same again and again if there are too few."""
    folder.mkdir()
    files = []
    for number in range(count):
        path = folder / f"{number:06d}.png"
        Image.fromarray(images[number % len(images)].transpose(1, 2, 0)).save(path, compress_level=1)
        files.append(NamedFile(path.name, path, (0, 0)))
    return files


def build(name: str, images: np.ndarray, folder: Path, **changes: Any) -> Method:
    """Return a method that was fitted to a few images, or at least knows their statistics, with thresholds."""
    kind = METHODS[name]
    parameters: MethodParameters = kind.Parameters(**{"device": "cpu", **changes})
    backbone = build_backbone(parameters.backbone)
    digests = [str(index) for index in range(len(images))]
    features = FeatureCache(folder).get(lazy_features(backbone, images, digests), progress=False)
    size = images.shape[2:]
    counts = {"train": len(images), "validation": 0}
    card = new_card(kind, parameters, backbone, image_size=size, data_digest="", images=counts)
    method = kind(backbone, parameters, card)
    method.fit(TrainingData(images, features, len(images)))
    with torch.inference_mode():
        scores = method.eval().score(images[:4])
    image, pixel = float(scores.image_scores.max()), float(scores.maps.max())
    thresholds = {"image": {"value": image, "images": 4}, "pixel": {"value": 0.8 * pixel, "images": 4}}
    method.card = method.card.with_entries(thresholds=thresholds)
    return method


def rates(count: int, rounds: int) -> list[dict[str, Any]]:
    """Return images per second of each way, and the ratio to the network alone."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = stripes(count, 256)
        detector = Detector(build("dfc", images[:8], folder / "cache", epochs=1), device="cpu")
        network = LazyScores(detector.method, images, detector.method.device, BATCH)
        for side in (256, 1024):
            files = write(images if side == 256 else stripes(24, side), folder / str(side), count)
            ways: dict[str, Callable[[], object]] = {"network alone": lambda: list(network.pieces())}
            for way, written in WAYS.items():
                switches = {name: name in written for name in ("overlays", "maps", "masks", "thumbnails")}
                writer = PictureWriter(folder / f"out{side}", **switches)
                ways[way] = lambda writer=writer, files=files: list(examine_files(detector, files, writer))
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, call in ways.items():
                    began = time.perf_counter()
                    call()
                    seconds[way].append(time.perf_counter() - began)
            median = {way: statistics.median(values) for way, values in seconds.items()}
            for way, value in median.items():
                ratio = median["network alone"] / value
                rows.append(
                    {"photographs": f"{side}x{side}", "way": way, "images_per_second": count / value, "ratio": ratio}
                )
    return rows


def memory(counts: list[int]) -> list[dict[str, Any]]:
    """Return the peak memory of a process, by number of photographs."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = stripes(32, 64)
        save_method(build("padim", images, folder / "cache", channels=20), folder / "detector")
        for count in counts:
            write(images, folder / f"photos{count}", count)
            command = [sys.executable, __file__, "--worker", str(folder), str(count)]
            peak = watched(command, folder)
            rows.append({"photographs": count, "anonymous_mib": peak["anonymous_mib"], "seconds": peak["seconds"]})
            sys.stdout.write(f"{rows[-1]}\n")
    for row in rows:
        more = row["photographs"] - rows[0]["photographs"]
        row["kib_per_further_photograph"] = (
            (row["anonymous_mib"] - rows[0]["anonymous_mib"]) * 1024 / more if more else None
        )
    return rows


def worker(folder: Path, count: int) -> None:
    """Examine the photographs, with overlays and thumbnails."""
    from discrepancy import load_detector

    detector = load_detector(folder / "detector", device="cpu")
    files = [NamedFile(path.name, path, (0, 0)) for path in sorted((folder / f"photos{count}").iterdir())]
    writer = PictureWriter(folder / "out", maps=False, masks=False, thumbnails=True)
    for _ in examine_files(detector, files, writer):
        pass


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Write and print a result."""
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(rows, indent=2)}\n")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", action="store_true", help="images per second beside the network alone")
    parser.add_argument("--images", type=int, default=192, help="for --rate: number of photographs")
    parser.add_argument("--rounds", type=int, default=3, help="for --rate: repetitions")
    parser.add_argument("--memory", action="store_true", help="peak memory against the number of photographs")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000], help="for --memory")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(Path(options.worker[0]), int(options.worker[1]))
    if options.rate:
        save("predict_rate", rates(options.images, options.rounds))
    if options.memory:
        save("predict_memory", memory(options.counts))


if __name__ == "__main__":
    main()
