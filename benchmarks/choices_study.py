"""The choices behind the defaults, each with and without it, on several parts: no test image is looked at.

    python benchmarks/choices_study.py --data ../photographs [--methods dfc,committee] [--parts cable,cookies]

Of the good training images (100 at most) 60 % are trained on, 4 are for validation, and the others are held out: as
they are, and in two copies each with a painted defect. The parts are the demo's three, the cable under varying exposure
(each photograph times 0.35 to 1), and below `--data` the folders `kolektorsdd` (at half its resolution), `cookies` and
`elpv`, in MVTec AD's layout. What is done stays done: a killed study goes on. Writes
benchmarks/results/choices_study.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from variants import VALIDATION, fit_variant, judge

from discrepancy.atomic import replacing
from discrepancy.data.images import ResizeCrop, decode_image
from discrepancy.demo import render_category

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "benchmarks/results/choices_study.json"
DEMO = ("cable", "gear", "weave")
PARTS = (*DEMO, "cable_exposure", "kolektorsdd", "cookies", "elpv")
SIZES = {"kolektorsdd": (320, 128)}
MOST_IMAGES = 100
PAINTINGS = 2
SCALED = {
    "without content, maximum": {"by_content": False, "peak_share": 0.0},
    "by content, maximum": {"peak_share": 0.0},
    "default": {},
}
CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "padim": {name: {"augmentation": name} for name in ("none", "flips", "rotations")} | {"default": {}},
    "patchcore": {
        "1 %, out of all": {"smallest_memory": 1, "candidates": None},
        "5,000": {"smallest_memory": 5000},
        "default": {},
    },
    "dfc": SCALED,
    "dfr": SCALED,
    "fod": SCALED,
    "committee": {
        "padim + patchcore": {"members": ["padim", "patchcore"]},
        "dfc + patchcore": {"members": ["dfc", "patchcore"]},
        "equal weights": {"weighing": "equal"},
        "default": {},
    },
}
LEARNT_ALIKE = frozenset({"peak_share", "by_content", "weighing", "members"})
"""Variants that differ in these only take up the same checkpoints."""

logger = logging.getLogger("choices_study")


def good_images(root: Path, part: str) -> NDArray[np.uint8]:
    """Return good training images in random order, uint8 [N, 3, H, W]."""
    name = part.removesuffix("_exposure")
    folder = render_category(ROOT / "data/01_raw/demo", name) if name in DEMO else root / name
    paths = sorted(path for path in (folder / "train/good").iterdir() if path.is_file())
    rng = np.random.default_rng(0)
    paths = [paths[index] for index in rng.permutation(len(paths))[:MOST_IMAGES]]
    size = ResizeCrop(SIZES.get(part, (256, 256)))
    images = np.stack([decode_image(path, size) for path in paths])
    if part == name:
        return images
    gains = np.exp(rng.uniform(np.log(0.35), 0.0, (len(images), 1, 1, 1)))
    return np.round(images * gains).astype(np.uint8)


def fitted_and_judged(
    part: str, name: str, changes: dict[str, Any], images: NDArray[np.uint8], cache: Path
) -> dict[str, float]:
    """Fit a variant of a method, and judge it on held-out images and painted copies of them."""
    train = int(0.6 * len(images))
    deciding = {key: value for key, value in changes.items() if key not in LEARNT_ALIKE}
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]
    # A committee's member finds the checkpoint of its method's default.
    state = f"{part}.{digest}" if name == "committee" else f"{part}.{digest}.{name}"
    began = time.perf_counter()
    detector, _ = fit_variant(
        name, {"pooling": "max", **changes}, images[: train + VALIDATION], train, cache / part, state
    )
    seconds = time.perf_counter() - began
    values = judge(detector, images[train + VALIDATION :], PAINTINGS)
    return {**{metric: round(value, 4) for metric, value in values.items()}, "seconds": round(seconds, 1)}


def study(root: Path, parts: list[str], methods: list[str]) -> None:
    """Fill in what is missing in the report."""
    found = json.loads(REPORT.read_text()) if REPORT.is_file() else []
    done = {(row["part"], row["method"], row["variant"]) for row in found}
    for part in parts:
        images = good_images(root, part)
        with tempfile.TemporaryDirectory() as cache:
            for name in methods:
                for variant, changes in CHOICES[name].items():
                    if (part, name, variant) in done:
                        continue
                    values = fitted_and_judged(part, name, changes, images, Path(cache))
                    row = {"part": part, "images": len(images), "method": name, "variant": variant, **values}
                    logger.info("%s", row)
                    found.append(row)
                    with replacing(REPORT) as path:
                        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real parts")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--methods", default=",".join(CHOICES))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study(options.data, options.parts.split(","), options.methods.split(","))


if __name__ == "__main__":
    main()
