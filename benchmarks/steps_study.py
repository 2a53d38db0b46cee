"""What a bound on the gradient steps saves and costs: `steps` as by default, half of it, or the usual `epochs`.

    python benchmarks/steps_study.py [--data ../photographs] [--parts cable,elpv] [--methods dfc,dfr,fod,committee]

`cable` are 300 synthetic good cables to train on, and 60 others. Below `--data` there may be `elpv` and `kolektorsdd`
(taken at half its resolution), in MVTec AD's layout: four fifths of their good training images are trained on. The
others are scored as they are and with painted defects; no test image is looked at. The committee has no epochs of its
own; it shows what all of its members together take. Seconds mean something only if the machine does nothing else. What
is done stays done. Writes benchmarks/results/steps_study.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from choices_study import good_images
from numpy.typing import NDArray
from variants import VALIDATION, fit_variant, judge

from discrepancy.atomic import replacing
from discrepancy.data.images import ResizeCrop, decode_image
from discrepancy.demo.folder import render_photographs
from discrepancy.methods.dfc.parameters import DFCParameters
from discrepancy.methods.dfr.parameters import DFRParameters
from discrepancy.methods.fod.parameters import FODParameters

REPORT = Path(__file__).parent / "results/steps_study.json"
SYNTHETIC = "cable"
SYNTHETIC_IMAGES, SYNTHETIC_JUDGED = 300, 60
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "dfc": {
        "default": {},
        "900 steps": {"steps": 900},
        "usual epochs": {"epochs": DFCParameters.MOST_EPOCHS},
    },
    "dfr": {"default": {}, "usual epochs": {"epochs": DFRParameters.MOST_EPOCHS}},
    "fod": {"default": {}, "usual epochs": {"epochs": FODParameters.MOST_EPOCHS}},
    "committee": {"default": {}},
}
ON_PHOTOGRAPHS = {"dfc": ("default", "900 steps")}
"""Variants on photographs. With the usual epochs these would differ little from the default: there are too few."""

logger = logging.getLogger("steps_study")


class Part(NamedTuple):
    """Good images uint8 [N, 3, H, W], the number of them to train on, and the painted copies of each that is judged."""

    images: NDArray[np.uint8]
    train: int
    paintings: int


def variants_of(part: str, method: str) -> dict[str, dict[str, Any]]:
    """Return the changed parameters of each variant that a part shows."""
    shown = VARIANTS[method] if part == SYNTHETIC else ON_PHOTOGRAPHS.get(method, ())
    return {name: VARIANTS[method][name] for name in shown}


def part_of(name: str, root: Path | None) -> Part:
    """Return the images of a part by its name."""
    if name == SYNTHETIC:
        with tempfile.TemporaryDirectory() as folder:
            images = photographs(Path(folder), SYNTHETIC_IMAGES + VALIDATION + SYNTHETIC_JUDGED)
        return Part(images, SYNTHETIC_IMAGES, 2)
    if root is None:
        raise SystemExit(f"--data is missing; expected the folder of {name}")
    images = good_images(root, name, most=None)
    return Part(images, int(0.8 * len(images)) - VALIDATION, 4)


def photographs(folder: Path, count: int) -> NDArray[np.uint8]:
    """Return synthetic good photographs, uint8 [count, 3, 256, 256]."""
    rendered = render_photographs(folder / "photographs", SYNTHETIC, count=count)
    size = ResizeCrop((256, 256))
    return np.stack([decode_image(path, size) for path in sorted((rendered / "good").iterdir())])


def measured(name: str, changes: dict[str, Any], part: Part) -> dict[str, Any]:
    """Train once and judge; features are extracted anew."""
    known, unseen = part.images[: part.train + VALIDATION], part.images[part.train + VALIDATION :]
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        detector, history = fit_variant(name, changes, known, part.train, Path(cache), "state")
        seconds = time.perf_counter() - began
    values = judge(detector, unseen, part.paintings)
    return {
        "epochs": len(history) or None,  # a committee has none of its own
        **{metric: round(value, 4) for metric, value in values.items()},
        "training_seconds": round(sum(epoch.seconds for epoch in history), 1) or None,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the photographs")
    parser.add_argument("--parts", default=SYNTHETIC, help="cable, elpv, kolektorsdd")
    parser.add_argument("--methods", default=",".join(VARIANTS))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: list[dict[str, Any]] = json.loads(REPORT.read_text()) if REPORT.is_file() else []
    for name in options.parts.split(","):
        part = part_of(name, options.data)
        for method in options.methods.split(","):
            for variant, changes in variants_of(name, method).items():
                place = {"part": name, "method": method, "variant": variant, "images": part.train}
                if any(place.items() <= row.items() for row in rows):
                    continue
                rows.append(place | measured(method, changes, part))
                logger.info("%s", rows[-1])
                with replacing(REPORT) as path:
                    path.write_text(json.dumps(sorted(rows, key=str), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
