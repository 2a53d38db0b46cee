"""Exported detectors beside PyTorch: how equal, how large, how fast.

    python benchmarks/serving.py [--methods dfc patchcore --rounds 5 --seconds 2]

Each method learns for one epoch from the demo's cable, which decides neither its speed nor its exactness, and is
exported, in float32 and in int8. All ways of computing then take turns, on two cores: PyTorch, ONNX Runtime, and
OpenVINO where it is installed. Writes benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from discrepancy import Detector, fit_detector, load_detector
from discrepancy.demo.dataset import render_category
from discrepancy.export.bundle import bundle_files, write_bundle
from discrepancy.export.comparison import Exactness, check, compare
from discrepancy.export.detect import Bundle
from discrepancy.export.graph import onnx_graph
from discrepancy.export.quantisation import quantise
from discrepancy.methods.registry import METHODS

RESULTS = Path(__file__).parent / "results/serving.json"
ONE_EPOCH = {"dfc": {"epochs": 1}, "dfr": {"epochs": 1}, "fod": {"epochs": 1}}
COMMITTEE = {"members": ["dfc", "padim", "patchcore"], "settings": {"dfc": {"epochs": 1}}}
BATCHES = (1, 16)
Way = Callable[[NDArray[np.uint8]], Any]


def detector_of(method: str, part: Path, folder: Path) -> Detector:
    """Return a detector, fitted to the part's good photographs unless an earlier call has left it in the folder."""
    if not (folder / method).is_dir():
        given = COMMITTEE if method == "committee" else ONE_EPOCH.get(method, {})
        fit_detector(part / "train/good", method=method, cache=folder / "features", **given).save(folder / method)
    return load_detector(folder / method, device="cpu")


def rates(
    ways: dict[str, Callable[[NDArray[np.uint8]], Any]], images: NDArray[np.uint8], options: Any
) -> dict[str, Any]:
    """Return images per second and milliseconds per pass of each way, which take turns for some rounds."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for score in ways.values():
        score(images)
    for _ in range(options.rounds):
        for name, score in ways.items():
            end = time.perf_counter() + options.seconds / options.rounds
            while (start := time.perf_counter()) < end:
                score(images)
                found[name].append(time.perf_counter() - start)
    return {
        name: {
            "images_per_second": round(len(images) / float(np.median(passes)), 2),
            "milliseconds": {f"p{share}": round(1000 * float(np.percentile(passes, share)), 1) for share in (50, 99)},
        }
        for name, passes in found.items()
    }


def sample_table(part: Path) -> pd.DataFrame:
    """Return the part's photographs: of the good ones every fifth serves for the ranges of int8, the others to compare.

    Which of them the detector has learnt from decides its threshold, and none of what is measured here.
    """
    good = sorted((part / "train/good").iterdir())
    rows = [("validation" if index % 5 == 0 else "train", path, "") for index, path in enumerate(good)]
    for path in sorted((part / "test").rglob("*.png")):
        mask = part / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        rows.append(("test", path, mask.relative_to(part).as_posix() if mask.exists() else ""))
    table = pd.DataFrame(rows, columns=["split", "image", "mask"])
    table["label"] = (table["mask"] != "").astype(int)
    return table.assign(image=[path.relative_to(part).as_posix() for path in table["image"]])


def openvino(graph: bytes) -> Way | None:
    """Return OpenVINO's way to compute a graph; None where it is not installed."""
    if find_spec("openvino") is None:
        return None
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})
    return lambda images: compiled([images])


def measured(method: str, part: Path, folder: Path, options: Any) -> dict[str, Any]:
    """Export a method's detector, and return how equal, large and fast the export is."""
    detector = detector_of(method, part, folder)
    start = time.perf_counter()
    graph = onnx_graph(detector.method)
    export_seconds = time.perf_counter() - start
    write_bundle(bundle_files(detector, graph), folder / f"{method}-bundle")
    bundle = Bundle(folder / f"{method}-bundle", threads=torch.get_num_threads())
    paths = sorted((part / "test").rglob("*.png"))
    equal = check(compare(detector, bundle, paths, part), detector.threshold, Exactness())
    ways: dict[str, Way] = {"PyTorch": detector.score, "ONNX Runtime": bundle.score}
    if (third := openvino(graph)) is not None:
        ways["OpenVINO"] = third
    quantised = quantise(detector, graph, sample_table(part), part)
    assert quantised.cost is not None
    write_bundle(bundle_files(quantised.detector, quantised.graph), folder / f"{method}-int8")
    ways["int8"] = Bundle(folder / f"{method}-int8", threads=torch.get_num_threads()).score
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 3, *detector.image_size), dtype=np.uint8)
    return {
        "method": method,
        "megabytes": round(len(graph) / 1e6, 1),
        "export_seconds": round(export_seconds, 1),
        "equal": equal,
        "int8_megabytes": round(len(quantised.graph) / 1e6, 1),
        "int8_cost": quantised.cost.to_dict("records"),
        "batches": {str(count): rates(ways, images[:count], options) for count in BATCHES},
    }


def main() -> None:
    """Measure all methods and write the results."""
    parser = argparse.ArgumentParser(description="Compare exported detectors with PyTorch.")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each way and batch (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--detectors", type=Path, help="folder in which detectors are kept for the next run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.detectors or Path(temporary)
        root = Path("data/01_raw/demo")
        render_category(root, "cable")
        rows = [measured(method, root / "cable", folder, options) for method in options.methods]
    packages = ("torch", "onnxruntime", "openvino")
    result = {"versions": {name: _version(name) for name in packages}, "threads": options.threads, "methods": rows}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
