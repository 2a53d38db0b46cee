"""What a bound on the gradient steps saves and costs, for 300 photographs: `steps` against the usual `epochs`.

    python benchmarks/steps_study.py [--images 300] [--methods dfc,dfr,fod,committee]

Renders synthetic good cables, trains on 300 of them, and judges by others, as they are and with painted defects. No
test image is looked at. Each method is trained with its defaults, and for its usual number of epochs however long that
takes. The committee has no epochs of its own; it shows what all of its members together take. Seconds mean something
only if the machine does nothing else. What is done stays done. Writes benchmarks/results/steps_study.json.
"""

from __future__ import annotations

import argparse
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
from discrepancy.demo.folder import render_photographs
from discrepancy.methods.parameters import GradientParameters
from discrepancy.methods.registry import METHODS

REPORT = Path(__file__).parent / "results/steps_study.json"
CATEGORY = "cable"
JUDGED = 60
PAINTINGS = 2
VARIANTS = ("default", "usual epochs")

logger = logging.getLogger("steps_study")


def changes_of(variant: str, method: str) -> dict[str, Any] | None:
    """Return the parameters that a variant changes; None if the method has no such variant."""
    parameters = METHODS[method].Parameters
    if variant == "default":
        return {}
    return {"epochs": parameters.MOST_EPOCHS} if issubclass(parameters, GradientParameters) else None


def photographs(folder: Path, count: int) -> NDArray[np.uint8]:
    """Return synthetic good photographs, uint8 [count, 3, 256, 256]."""
    rendered = render_photographs(folder / "photographs", CATEGORY, count=count)
    size = ResizeCrop((256, 256))
    return np.stack([decode_image(path, size) for path in sorted((rendered / "good").iterdir())])


def measured(name: str, changes: dict[str, Any], images: NDArray[np.uint8], train: int) -> dict[str, Any]:
    """Train once and judge; features are extracted anew."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        detector, history = fit_variant(name, changes, images[: train + VALIDATION], train, Path(cache), "state")
        seconds = time.perf_counter() - began
    values = judge(detector, images[train + VALIDATION :], PAINTINGS)
    return {
        "epochs": len(history) or None,  # a committee has none of its own
        **{metric: round(value, 4) for metric, value in values.items()},
        "training_seconds": round(sum(epoch.seconds for epoch in history), 1) or None,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="to train on")
    parser.add_argument("--methods", default="dfc,dfr,fod,committee")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: list[dict[str, Any]] = json.loads(REPORT.read_text()) if REPORT.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        images = photographs(Path(folder), options.images + VALIDATION + JUDGED)
    for variant in VARIANTS:
        for method in options.methods.split(","):
            place = {"method": method, "variant": variant, "images": options.images}
            changes = changes_of(variant, method)
            if changes is None or any(place.items() <= row.items() for row in rows):
                continue
            rows.append(place | measured(method, changes, images, options.images))
            logger.info("%s", rows[-1])
            with replacing(REPORT) as path:
                path.write_text(json.dumps(sorted(rows, key=str), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
