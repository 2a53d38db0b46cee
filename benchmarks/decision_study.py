"""Which rule turns few held-out scores into a threshold that keeps its target: every candidate, side by side.

    python benchmarks/decision_study.py collect --data ../photographs    # trains: hours
    python benchmarks/decision_study.py compare                          # a minute
    python benchmarks/decision_study.py light                            # a quarter of an hour

`collect` cross-fits every method on every part: the demo's three categories, and below `--data` the folders
`kolektorsdd` and `cookies`, in MVTec AD's layout. A detector is trained without each fold of the good training images;
it scores that fold and the test images. The scores are kept in data/, fold by fold, so that a killed run goes on.

`compare` draws many splits of these scores. Each holds out some good training images; a rule sets the threshold from
their scores, and the test images are scored by one of the folds' detectors. Rules are chosen by the columns `others`
(false alarms among the good training images that are not held out) and `painted` (detected copies of held-out good
images with painted defects), which look at no test image. Outlines are judged on painted defects, too.

`light` trains on the demo, photographs other parts under the lamp `dim`, and calibrates anew with 60 good ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import beta, binom

from discrepancy.atomic import replacing
from discrepancy.data.images import ResizeCrop, image_array, mask_array
from discrepancy.data.photographs import open_photographs
from discrepancy.data.splits import deal_folds
from discrepancy.decisions.calibration import DEFAULT_RULE, Calibration
from discrepancy.decisions.comparison import compare_scores
from discrepancy.decisions.segmentation import Outlines, SegmentationRule, segmentation_rule, smooth
from discrepancy.decisions.tails import FAMILIES, Tail
from discrepancy.demo.folder import render_photographs
from discrepancy.demo.light import LIGHTS
from discrepancy.detection.cross_fitting import fit_without
from discrepancy.detection.scoring import LazyScores, ScoredMaps
from discrepancy.detection.thresholds import calibrated
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.figures import style
from discrepancy.fitting import fit_detector
from discrepancy.methods.base import Method, TrainingData, new_card
from discrepancy.methods.committee.weights import painted_copies
from discrepancy.methods.registry import METHODS
from discrepancy.metrics.rates import oracle_detection_at_target
from discrepancy.metrics.regions import region_metrics
from discrepancy.metrics.thresholds import threshold_at_fpr

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "benchmarks/results/decision_study.json"
PICTURE = ROOT / "docs/pictures/decision_study.png"
STORE = ROOT / "data/08_reporting/decision_study"
DEMO = ("cable", "gear", "weave")
REAL = {"kolektorsdd": (640, 256), "cookies": (256, 256)}
SHORTER: dict[str, dict[str, dict[str, Any]]] = {
    "kolektorsdd": {"dfc": {"epochs": 15}, "dfr": {"epochs": 50}, "fod": {"epochs": 3}}
}
"""Epochs as in the benchmark: the same number of steps as with fewer images."""
FOLDS = {"padim": 5, "patchcore": 5, "dfc": 5, "dfr": 2, "fod": 2}
"""Fewer where training is long."""
FEWEST_FOLDS = 2
PAINTINGS = 3
"""Copies of each held-out image with a painted defect."""
LARGE = ("kolektorsdd",)
"""Parts on which a training takes minutes: two folds, but for PaDiM."""

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
    folds = _folds(part, name)
    digests = list(samples["sha256"][:good])
    dealt = deal_folds(digests, folds, seed=0)
    parameters = method.Parameters.model_validate(SHORTER.get(part, {}).get(name, {}))
    backbone = build_backbone(parameters.backbone, layers=parameters.layers_of(part))
    size = images.shape[2], images.shape[3]
    lazy = lazy_features(
        backbone, images[:good], digests, reduction=method.reduction(backbone, parameters, size), dtype="float32"
    )
    missing = [number for number in range(_kept_folds(part, name)) if not _file(part, name, f"fold{number}").is_file()]
    final = _has_final(part, name) and not _file(part, name, "final").is_file()
    if not missing and not final:
        return
    with tempfile.TemporaryDirectory() as cache:
        data = TrainingData(images[:good], FeatureCache(Path(cache)).get(lazy), good)
        named = {
            "images": {"train": good},
            **method.card_entries(parameters, method.prepare(backbone, data, parameters)),
        }
        card = new_card(method, parameters, backbone, image_size=size, data_digest="", **named)
        template = method(backbone, parameters, card)
        for number in missing:
            began = time.perf_counter()
            detector = fit_without(template, data, dealt[number], None, parameters)
            seconds = time.perf_counter() - began
            held_out = LazyScores(detector, images[dealt[number]], torch.device("cpu")).computed()
            test = LazyScores(detector, images[good:], torch.device("cpu")).computed()
            kept = {
                "rows": dealt[number],
                "scores": held_out.image_scores,
                "maps": held_out.maps,
                "test_scores": test.image_scores,
                "test_labels": samples["label"][good:].to_numpy(),
                "test_maps": test.maps,
                "test_masks": masks,
                "sigma": np.float64(detector.card.image_score.sigma),
            }
            if number == 0:
                kept |= _painted(detector, images[dealt[number]])
            with replacing(_file(part, name, f"fold{number}")) as path, path.open("wb") as file:
                np.savez(file, **kept)
            logger.info("%s, %s: fold %d of %d in %.0f s", part, name, number + 1, folds, seconds)
        if final:  # trained on all, for thresholds from all cross-fitted scores
            detector = fit_without(template, data, np.empty(0, np.intp), None, parameters)
            scores = LazyScores(detector, images[good:], torch.device("cpu")).computed().image_scores
            with replacing(_file(part, name, "final")) as path, path.open("wb") as file:
                np.savez(file, test_scores=scores)
            logger.info("%s, %s: trained on all", part, name)


def _painted(detector: Method, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores, maps and masks of held-out good images with painted defects: what choices may look at."""
    painted, masks = painted_copies(held_out, copies=PAINTINGS, seed=5)
    scored = LazyScores(detector, painted, torch.device("cpu")).computed()
    return {"painted_scores": scored.image_scores, "painted_maps": scored.maps, "painted_masks": masks}


def _file(part: str, name: str, which: str) -> Path:
    return STORE / part / name / f"{which}.npz"


def _folds(part: str, name: str) -> int:
    """Return how many folds the images are dealt to."""
    return FEWEST_FOLDS if part in LARGE and name != "padim" else FOLDS[name]


def _kept_folds(part: str, name: str) -> int:
    """Return how many folds are held out: one where a training takes a quarter of an hour."""
    return 1 if part in LARGE and name == "fod" else _folds(part, name)


def _has_final(part: str, name: str) -> bool:
    """True where one more training is short."""
    return name in {"padim", "patchcore"} or (name == "dfc" and part in DEMO)


@dataclass(frozen=True)
class Cell:
    """Scores of a method on a part.

    Attributes:
        good: of the good training images, each by a detector that was trained without it, [n].
        test: of the test images by each fold's detector, [folds, N].
        labels: of the test images, [N].
        painted: of held-out good images with painted defects, by the first fold's detector.
        final: of the test images by a detector that was trained on all good images, [N].
    """

    good: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    painted: np.ndarray
    final: np.ndarray | None


def _cell(part: str, name: str) -> Cell | None:
    folds = [np.load(path) for path in sorted((STORE / part / name).glob("fold*.npz"))]
    if len(folds) < _kept_folds(part, name) or "painted_scores" not in folds[0]:
        logger.warning("%s, %s: not whole, left out", part, name)
        return None
    good = np.concatenate([fold["scores"] for fold in folds]).astype(np.float64)
    test = np.stack([fold["test_scores"] for fold in folds]).astype(np.float64)
    path = _file(part, name, "final")
    final = np.load(path)["test_scores"].astype(np.float64) if path.is_file() else None
    return Cell(good, test, folds[0]["test_labels"], folds[0]["painted_scores"].astype(np.float64), final)


class Decided(NamedTuple):
    """A threshold, and possible true false-alarm rates [S]: what the rule says is uncertain."""

    threshold: float
    rates: np.ndarray


def _quantile(scores: np.ndarray, target: float) -> Decided:
    found = threshold_at_fpr(scores, fpr=target)
    shares = (np.arange(2000) + 0.5) / 2000
    return Decided(found.value, beta.ppf(shares, found.above + 1, len(scores) - found.above))


def _fitted(scores: np.ndarray, target: float, *, family: str, robust: bool) -> Decided:
    tail = Tail(family, scores, robust=robust)
    threshold = tail.threshold(target)
    return Decided(threshold, tail.unknown.rates(tail.unknown.place(target))[0, ::10])


def _pareto(scores: np.ndarray, target: float) -> Decided:
    """Generalised Pareto distribution above the median, by probability-weighted moments (Hosking and Wallis, 1987)."""
    ordered = np.sort(scores)
    count, above = len(ordered), max(5, len(ordered) // 2)
    base = ordered[count - above - 1]
    excess = ordered[count - above :] - base
    mean = excess.mean()
    weighted = np.mean((1 - (np.arange(1, above + 1) - 0.35) / above) * excess)
    shape, scale = 2 - mean / (mean - 2 * weighted), 2 * mean * weighted / (mean - 2 * weighted)
    share = min(1.0, target * count / above)
    step = -scale * np.log(share) if abs(shape) < 1e-6 else scale / shape * (share**-shape - 1)
    return Decided(float(base + step), np.full(1, np.nan))


Rule = Callable[[np.ndarray, float], Decided]
RULES: dict[str, Rule] = {"quantile": _quantile}
for _family in FAMILIES:
    RULES[_family] = partial(_fitted, family=_family, robust=True)
for _family in FAMILIES:
    RULES[f"{_family}, outliers kept"] = partial(_fitted, family=_family, robust=False)
RULES["generalised Pareto"] = _pareto
EARLIER = "quantile, of 5 % of the images"
TARGETS = (0.10, 0.05, 0.01)
SPLITS = 20


def compare() -> None:
    """Set thresholds by every rule on many splits of the kept scores; write what they kept and found."""
    rows, crossed, outlined = [], [], []
    for path in sorted(STORE.glob("*/*")):
        cell_of = {"part": path.parent.name, "method": path.name}
        if (cell := _cell(*cell_of.values())) is not None:
            rows += [cell_of | line for line in _compared(cell)]
            crossed += [cell_of | line for line in _cross_fitted(cell)]
            outlined += [cell_of | line for line in _outlined(*cell_of.values())]
    if not rows:
        raise SystemExit(f"{STORE}: no scores; expected those of `collect`")
    report = {"splits": SPLITS, "rows": rows, "cross": crossed, "outlines": outlined}
    REPORT.write_text(json.dumps(_rounded(report), indent=1) + "\n", encoding="utf-8")
    _draw(pd.DataFrame(rows)).savefig(PICTURE)
    means = pd.DataFrame(rows).groupby(["rule", "target"], sort=False)[MEASURES].mean()
    outlines = pd.DataFrame(outlined).groupby("low", sort=False).mean(numeric_only=True)
    for table in (means, pd.DataFrame(crossed), outlines):
        print(table.round(3).to_string(), end="\n\n")  # noqa: T201 (a command)


def _draw(rows: pd.DataFrame) -> Figure:
    """Draw false alarms against the target, and detection against what the ranking allows, for each rule."""
    shown = ["quantile", *(name for name in FAMILIES), EARLIER]
    figure = style.new_figure(style.PAGE_WIDTH, 4.6)
    left, right = figure.subplots(1, 2)
    style.dress(left, title="False alarms of good test images", x="Target", y="Observed")
    style.dress(right, title="Detection at the price of false alarms", x="Observed false alarms", y="Detected")
    ends = [0.008, 0.13]
    left.plot(ends, ends, color=style.INK, linewidth=1, linestyle=":", label="as promised")
    for axes, values in ((left, TARGETS), (right, (0.01, 0.02, 0.05, 0.1, 0.2))):
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{100 * value:g} %" for value in values])
        axes.minorticks_off()
    left.set_yscale("log")
    left.set_yticks((0.01, 0.02, 0.05, 0.1, 0.2), ["1 %", "2 %", "5 %", "10 %", "20 %"])
    left.minorticks_off()
    left.set(xlim=ends)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    right.set_ylim(0.1, 0.85)
    for name in shown:
        means = rows[rows["rule"] == name].groupby("target")[["observed", "detection", "oracle"]].mean()
        default = name == DEFAULT_RULE
        line = {"marker": "o", "linewidth": 2.5 if default else 1, "color": style.FOUND if default else None}
        (drawn,) = left.plot(means.index, means["observed"], **line)
        right.plot(means["observed"], means["detection"], label=name, **(line | {"color": drawn.get_color()}))
    oracle = rows.groupby("target")["oracle"].mean()
    right.plot(oracle.index, oracle, color=style.INK, linestyle="--", marker="s", label="oracle, at the target")
    style.add_legend(left, loc="lower right")
    style.add_legend(right, loc="lower right")
    figure.tight_layout()
    return figure


def _rounded(value: Any) -> Any:
    """Return JSON values with numbers of four digits; None for NaN."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return value


MEASURES = ["others", "observed", "detection", "oracle", "painted", "within", "within_interval"]


def _compared(cell: Cell) -> Iterator[dict[str, Any]]:
    count = len(cell.good)
    held_out = min(max(10, round(count / 5)), count // 2)
    for (name, rule), target in product([(EARLIER, _quantile), *RULES.items()], TARGETS):
        size = max(2, round(0.05 * count)) if name == EARLIER else held_out
        splits = [_split(cell, rule, target, size, seed) for seed in range(SPLITS)]
        yield {"rule": name, "target": target, "held_out": size, **pd.DataFrame(splits).mean().to_dict()}


def _split(cell: Cell, rule: Rule, target: float, size: int, seed: int) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(cell.good))
    decided = rule(cell.good[order[:size]], target)
    test = cell.test[seed % len(cell.test)]
    good, defective = test[cell.labels == 0], test[cell.labels == 1]
    alarms = int((good > decided.threshold).sum())
    low, high = np.quantile(decided.rates, [0.025, 0.975])
    return {
        "others": float((cell.good[order[size:]] > decided.threshold).mean()),
        "observed": alarms / len(good),
        "detection": float((defective > decided.threshold).mean()),
        "oracle": oracle_detection_at_target(test, cell.labels, target),
        "painted": float((cell.painted > decided.threshold).mean()),
        "within": _expected(alarms, len(good), decided.rates),
        "within_interval": float(low <= alarms / len(good) <= high),
    }


def _cross_fitted(cell: Cell) -> Iterator[dict[str, Any]]:
    """Yield what thresholds from all cross-fitted scores do on a detector that was trained on all good images."""
    if cell.final is None:
        return
    good, defective = cell.final[cell.labels == 0], cell.final[cell.labels == 1]
    for target in TARGETS:
        decided = RULES[DEFAULT_RULE](cell.good, target)
        yield {
            "target": target,
            "held_out": len(cell.good),
            "observed": float((good > decided.threshold).mean()),
            "detection": float((defective > decided.threshold).mean()),
            "oracle": oracle_detection_at_target(cell.final, cell.labels, target),
            "within": _expected(int((good > decided.threshold).sum()), len(good), decided.rates),
        }


LOWS = ("half-way", "median peak", "high", "share of pixels")


def _outlined(part: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield how outlines fit painted defects, and what they mark on test images, by the lower threshold of regions.

    `share of pixels` is the earlier rule: all pixels above the threshold of pixels, on maps that are not smoothed.
    """
    fold = np.load(_file(part, name, "fold0"))
    maps = fold["maps"].astype(np.float32)
    target, sigma = 0.05, float(fold["sigma"])
    base = segmentation_rule(maps, target=target, rule=DEFAULT_RULE, sigma=sigma)
    threshold = Calibration(fold["scores"].astype(np.float64), target).threshold
    peaks = [float(smooth(anomaly_map, sigma).max()) for anomaly_map in maps]
    pixels = threshold_at_fpr(maps, fpr=target, images=len(maps)).value
    rules = {
        "half-way": base,
        "median peak": replace(base, low=min(float(np.median(peaks)), base.high)),
        "high": replace(base, low=base.high),
        "share of pixels": SegmentationRule(pixels, pixels, anomalous_only=False),
    }
    for low, rule in rules.items():
        painted = Outlines(fold["painted_maps"].astype(np.float32), fold["painted_scores"] > threshold, rule)
        truth = fold["painted_masks"]
        fits = [_iou(mask, truth[row]) for row, mask in enumerate(painted) if painted.anomalous[row]]
        test = Outlines(fold["test_maps"].astype(np.float32), fold["test_scores"] > threshold, rule)
        labels = fold["test_labels"]
        passed = [bool(mask.any()) for row, mask in enumerate(test) if labels[row] == 0 and not test.anomalous[row]]
        yield {
            "low": low,
            "painted_iou": float(np.mean(fits)) if fits else float("nan"),
            "outlined_though_passed": float(np.mean(passed)) if passed else float("nan"),
            **region_metrics(test, fold["test_masks"], labels),
        }


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def _expected(alarms: int, count: int, rates: np.ndarray) -> float:
    """1 if so many alarms of so many images are among the central 95 % that the possible rates lead to; NaN without.

    Else 0.
    """
    if np.isnan(rates).any():
        return float("nan")
    at_most = binom.cdf(alarms, count, rates).mean()
    at_least = binom.sf(alarms - 1, count, rates).mean()
    return float(at_most > 0.025 and at_least > 0.025)


LIGHT_REPORT = ROOT / "benchmarks/results/decision_light.json"
LIGHT_TARGET = 0.05
CALIBRATING, TESTING = 60, 200
"""Photographs of good parts under the other lamp, and as many of defective ones as are tested."""


def light(parts: list[str], methods: list[str]) -> None:
    """Train under the usual lamp, calibrate under another; write the false alarms before and after."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for part in parts:
            folder = Path(place) / part
            for name, lamp, count, seed, defective in (
                ("usual", "usual", TESTING, 1, False),
                ("calibrating", "dim", CALIBRATING, 2, False),
                ("testing", "dim", TESTING, 3, True),
            ):
                render_photographs(folder / name, part, count=count, seed=seed, light=LIGHTS[lamp], defective=defective)
            rows += [{"part": part, "method": name, **_relit(part, name, folder)} for name in methods]
            LIGHT_REPORT.write_text(json.dumps(_rounded(rows), indent=1) + "\n", encoding="utf-8")
    print(pd.DataFrame(rows).round(3).to_string())  # noqa: T201 (a command)


def _relit(part: str, name: str, folder: Path) -> dict[str, Any]:
    good = ROOT / f"data/01_raw/demo/{part}/train/good"
    detector = fit_detector(good, method=name, false_positive_rate=LIGHT_TARGET, device="cpu")
    usual = detector.predict(folder / "usual/good")
    new = detector.predict(folder / "calibrating/good")
    tested, bad = detector.predict(folder / "testing/good"), detector.predict(folder / "testing/defective")
    scored = ScoredMaps(np.stack([item.small_map for item in new]), new.scores.astype(np.float32), 0.0)
    names = [item.name for item in new]
    card = calibrated(detector.card, scored, names, target=LIGHT_TARGET, rule=DEFAULT_RULE)
    comparison = compare_scores(detector.card.decision.image.scores, new.scores)
    before, after = detector.threshold, card.decision.image.value
    low, high = card.decision.image.interval or (np.nan, np.nan)
    return {
        "usual_false_alarms": float((usual.scores > before).mean()),
        "false_alarms_before": float((tested.scores > before).mean()),
        "drift_p_value": comparison.p_value,
        "drift_named": comparison.drifted,
        "false_alarms_after": float((tested.scores > after).mean()),
        "interval_low": low,
        "interval_high": high,
        "detection_after": float((bad.scores > after).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["collect", "compare", "light"])
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--parts", nargs="+", default=[*DEMO, *REAL])
    parser.add_argument("--methods", nargs="+", default=["padim", "patchcore", "dfc", "dfr", "fod"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.step == "collect":
        collect(options.data, options.parts, options.methods)
    elif options.step == "compare":
        compare()
    else:
        light([part for part in options.parts if part in DEMO], options.methods)


if __name__ == "__main__":
    main()
