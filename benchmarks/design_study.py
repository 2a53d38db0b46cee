"""How the defaults were chosen: variants trained on good images, judged on defects painted on held-out good images.

    python benchmarks/design_study.py --method dfc [--part demo/cable] [--epochs 40]
    python benchmarks/design_study.py --method dfr [--part folder/kolektorsdd] [--images 100]
    python benchmarks/design_study.py --method fod --epochs 8

No test image is looked at. Of the good training images 60 % are trained on, 4 are for validation, the others are held
out; each is judged as it is and in copies with a painted defect (`painted_copies`), of a kind that is not among the
corruptions that DFC trains with. Reads the arrays that a run left in data/;
writes benchmarks/results/design_study_<method>_<category>.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from variants import VALIDATION, fit_variant, judge

from discrepancy.methods.registry import METHODS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
Variants = dict[str, dict[str, object]]
DFC_VARIANTS: Variants = {
    "default": {},
    "raw residuals": {"residuals": "raw", "by_position": False},
    "whitened, not by position": {"by_position": False},
    "by position, not whitened": {"residuals": "raw"},
    "batches of 8": {"batch_size": 8},
    "strokes as in the paper": {"stroke_margin": 40},
    "without corruptions": {"corrupted_weight": 0.0},
    "width 96": {"width": 96},
    "three layers": {"layers": ["blocks.2", "blocks.3", "blocks.4"]},
}
DFR_VARIANTS: Variants = {
    "default": {},
    "raw residuals": {"residuals": "raw", "by_position": False},
    "whitened, not by position": {"by_position": False},
    "by position, not whitened": {"residuals": "raw"},
    "regions of 4 px": {"region": 4},
    "regions of 16 px": {"region": 16},
    "nearest": {"alignment": "nearest"},
    "not standardised": {"standardise": False},
    "without batch normalisation": {"batch_norm": False},
    "layers 2 to 4": {"layers": ["blocks.2", "blocks.3", "blocks.4"]},
    "layers 2 and 4": {"layers": ["blocks.2", "blocks.4"]},
    "layers 2 to 5": {"layers": ["blocks.2", "blocks.3", "blocks.4", "blocks.5"]},
    "smoothed by 4 px": {"smoothing": 4.0},
    "95 % of the variance": {"explained_variance": 0.95},
    "rate 1e-2": {"learning_rate": 1e-2},
    "mixed precision": {"precision": "bf16"},
    "cached in float16": {"cache_dtype": "float16"},
}
FOD_VARIANTS: Variants = {
    "4 heads": {},
    "times inter-correlations": {"correlation": "inter"},
    "times those, levels balanced": {"correlation": "inter", "balanced": True},
    "times intra-correlations": {"correlation": "intra"},
    "raw residuals": {"residuals": "raw", "by_position": False},
    "whitened, not by position": {"by_position": False},
    "by position, not whitened": {"residuals": "raw"},
    "smoothed by 4 px": {"smoothing": 4.0},
    "trained without inter": {"with_inter": False},
    "trained without intra": {"with_intra": False},
    "trained without both": {"with_inter": False, "with_intra": False},
    "as in the figure": {"as_figure": True},
    "not standardised": {"standardise": False},
    "batches of 4": {"batch_size": 4},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rate 3e-3": {"learning_rate": 3e-3},
    "1 layer": {"depth": 1},
    "3 layers": {"depth": 3},
    "2 heads (default)": {"heads": 2},
    "8 heads": {"heads": 8},
    "widths 64": {"widths": [64, 64]},
    "widths 256": {"widths": [256, 256]},
    "mixed precision": {"precision": "bf16"},
}
START: dict[str, dict[str, object]] = {
    "dfc": {"by_content": 0.0, "peak_share": 0.0},
    "dfr": {"by_content": 0.0, "peak_share": 0.0},
    "fod": {"by_content": 0.0, "peak_share": 0.0, "heads": 4},
}
"""Parameters that the variants start from: the other values of these came out of this study and of choices_study.py."""


VARIANTS = {"dfc": DFC_VARIANTS, "dfr": DFR_VARIANTS, "fod": FOD_VARIANTS}


def study(
    method: str, images: NDArray[np.uint8], changes: dict[str, object], paintings: int, cache: Path
) -> dict[str, object]:
    """Train one variant on the first 60 % of the images, judge it on the last ones.

    Variants that differ in their scoring only take up the same finished checkpoint.
    """
    train = int(0.6 * len(images))
    given = {**START[method], **changes}
    scoring = METHODS[method].Parameters.SCORING_FIELDS  # type: ignore[attr-defined]  # of methods that are trained
    deciding = {key: value for key, value in given.items() if key not in scoring}
    state = hashlib.sha256(json.dumps([method, deciding], sort_keys=True).encode()).hexdigest()
    detector, history = fit_variant(method, given, images[: train + VALIDATION], train, cache, state)
    seconds = sum(epoch.seconds for epoch in history)
    values = judge(detector, images[train + VALIDATION :], paintings)
    return {**values, "validation_loss": history[-1].validation_loss, "train_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=list(VARIANTS), default="dfc")
    parser.add_argument("--part", default="demo/cable", help="<dataset>/<category> of a finished run")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--images", type=int, help="take only so many of the good training images")
    parser.add_argument("--paintings", type=int, default=1, help="painted copies of each held-out image")
    parser.add_argument("--only", action="append", help="these variants only; nothing is written")
    options = parser.parse_args()
    samples = pd.read_csv(ROOT / f"data/02_intermediate/{options.part}/samples.csv", keep_default_na=False)
    stored = np.load(ROOT / f"data/03_primary/{options.part}/images.npy", mmap_mode="r")
    images = np.array(stored[: int((samples["split"] != "test").sum())][: options.images])
    variants = VARIANTS[options.method]
    report = RESULTS / f"design_study_{options.method}_{options.part.split('/')[1]}.json"
    with tempfile.TemporaryDirectory() as cache:
        rows = []
        for name in options.only or variants:
            changes = {**variants[name], "epochs": options.epochs}
            rows.append({"variant": name, **study(options.method, images, changes, options.paintings, Path(cache))})
            if not options.only:
                given = {"part": options.part, "epochs": options.epochs, "paintings": options.paintings}
                content = {**given, "images": len(images), "variants": rows}
                report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).round(4).to_string(index=False))  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
