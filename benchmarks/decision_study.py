"""Which rule turns few held-out scores into a threshold that keeps its target: every candidate, side by side.

    python benchmarks/decision_study.py collect --data ../photographs    # trains: hours
    python benchmarks/decision_study.py compare                          # seconds

`collect` cross-fits every method on every part: the demo's three categories, and below `--data` the folders
`kolektorsdd` and `cookies`, in MVTec AD's layout. A detector is trained without each fold of the good training images;
it scores that fold and the test images. The scores are kept in data/, fold by fold, so that a killed run goes on.

`compare` draws many splits of these scores. Each holds out some good training images; a rule sets the threshold from
their scores, and the test images are scored by one of the folds' detectors.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from discrepancy.atomic import replacing
from discrepancy.data.images import ResizeCrop, image_array, mask_array
from discrepancy.data.photographs import open_photographs
from discrepancy.detection.cross_fitting import deal_folds, fit_without
from discrepancy.detection.scoring import LazyScores
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.registry import METHODS

ROOT = Path(__file__).parents[1]
STORE = ROOT / "data/08_reporting/decision_study"
DEMO = ("cable", "gear", "weave")
REAL = {"kolektorsdd": (640, 256), "cookies": (256, 256)}
SHORTER: dict[str, dict[str, dict[str, Any]]] = {
    "kolektorsdd": {"dfc": {"epochs": 15}, "dfr": {"epochs": 50}, "fod": {"epochs": 3}}
}
"""Epochs as in the benchmark: the same number of steps as with fewer images."""
FOLDS = 5
FEWER_FOLDS = {"kolektorsdd": 2}
"""Where one training takes minutes; PaDiM, which takes a second, keeps the usual number."""

logger = logging.getLogger("decision_study")


def collect(root: Path, parts: list[str], methods: list[str]) -> None:
    """Cross-fit each method on each part, and keep scores and maps of held-out and test images."""
    for part in parts:
        samples, images, masks = _read(root, part)
        for name in methods:
            _collect(part, name, samples, images, masks)


def _read(root: Path, part: str) -> tuple[Any, np.ndarray, np.ndarray]:
    demo = part in DEMO
    photographs = open_photographs("demo" if demo else "folder", part, ROOT / "data/01_raw/demo" if demo else root)
    samples = photographs.samples.sort_values(["split", "image"], ascending=[False, True], kind="stable")
    samples = samples.reset_index(drop=True)  # train, then test
    size = ResizeCrop(REAL.get(part, (256, 256)), None)
    images = image_array(samples, photographs.root, size).to_numpy()
    return samples, images, mask_array(samples[samples["split"] == "test"], photographs.root, size).to_numpy()


def _collect(part: str, name: str, samples: Any, images: np.ndarray, masks: np.ndarray) -> None:
    method, good = METHODS[name], int((samples["split"] == "train").sum())
    folds = FOLDS if name == "padim" else FEWER_FOLDS.get(part, FOLDS)
    digests = list(samples["sha256"][:good])
    dealt = deal_folds(digests, folds, seed=0)
    parameters = method.Parameters.model_validate(SHORTER.get(part, {}).get(name, {}))
    backbone = build_backbone(parameters.backbone, layers=parameters.layers_of(part))
    size = images.shape[2], images.shape[3]
    lazy = lazy_features(
        backbone, images[:good], digests, reduction=method.reduction(backbone, parameters, size), dtype="float32"
    )
    missing = [number for number in range(folds) if not _file(part, name, number).is_file()]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as cache:
        data = TrainingData(images[:good], FeatureCache(Path(cache)).get(lazy), good)
        named = {"images": {"train": good}, **({"latent": 1} if name == "dfr" else {})}
        card = new_card(method, parameters, backbone, image_size=size, data_digest="", **named)
        template = method(backbone, parameters, card)
        for number in missing:
            began = time.perf_counter()
            detector = fit_without(template, data, dealt[number], None, parameters)
            seconds = time.perf_counter() - began
            held_out = LazyScores(detector, images[dealt[number]], torch.device("cpu")).computed()
            test = LazyScores(detector, images[good:], torch.device("cpu")).computed()
            with replacing(_file(part, name, number)) as path, path.open("wb") as file:
                np.savez(
                    file,
                    rows=dealt[number],
                    scores=held_out.image_scores,
                    maps=held_out.maps.astype(np.float16),
                    test_scores=test.image_scores,
                    test_labels=samples["label"][good:].to_numpy(),
                    test_maps=test.maps.astype(np.float16),
                    test_masks=masks,
                    sigma=detector.card.image_score.sigma,
                )
            logger.info("%s, %s: fold %d of %d in %.0f s", part, name, number + 1, folds, seconds)


def _file(part: str, name: str, fold: int) -> Path:
    return STORE / part / name / f"fold{fold}.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["collect", "compare"])
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--parts", nargs="+", default=[*DEMO, *REAL])
    parser.add_argument("--methods", nargs="+", default=["padim", "patchcore", "dfc", "dfr", "fod"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.step == "collect":
        collect(options.data, options.parts, options.methods)


if __name__ == "__main__":
    main()
