"""Graphs whose convolutions compute in 8-bit integers: quantised, with new thresholds, and the cost in metrics."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discrepancy.data.images import decode_mask, fit_image
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.detection.thresholds import calibrated
from discrepancy.errors import InputError
from discrepancy.export.graph import INPUT, OUTPUTS
from discrepancy.methods.base import Method
from discrepancy.methods.card import Card
from discrepancy.methods.gradient import GradientMethod
from discrepancy.metrics import evaluate, rate_metrics
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.sources import of_file

logger = logging.getLogger(__name__)

MOST_IMAGES: Final = 32
"""Good images, at most, that the ranges of the numbers are taken from, and that maps are compared on."""
BATCH: Final = 8
SAME_SCORES: Final = 0.05
"""Largest relative difference of an image's score by the graph from that at training, on another device perhaps."""
SCOPES: Final = "pkg.torch.onnx.name_scopes"
"""Entry of a node of the graph: the modules that it comes from."""
METRICS: Final = ("image_auroc", "pixel_auroc", "aupro_0.30", "detection_rate", "false_alarm_rate")


@dataclass(frozen=True)
class Exported:
    """A detector and its graph.

    Attributes:
        detector: with the thresholds of the graph.
        graph: ONNX.
        cost: metrics of the graph before and after quantisation, with the column `graph`; None if it is not quantised.
    """

    detector: Detector
    graph: bytes
    cost: pd.DataFrame | None = None


def quantise(
    detector: Detector, graph: bytes, samples: pd.DataFrame, root: Path, *, tolerance: float = 0.05
) -> Exported:
    """Quantise a graph by good training images; set new thresholds by the held-out ones, and measure by the test.

    Args:
        detector: the detector.
        graph: its graph, in float32.
        samples: the sample table of its training.
        root: the data root.
        tolerance: largest mean difference of the maps of held-out images from those before, over the mean of these.

    Raises:
        InputError: a photograph cannot be read, no images are held out, the thresholds come from other images than
            these, or the maps change by more than the tolerance.
    """
    paths = {split: [root / name for name in rows["image"]] for split, rows in samples.groupby("split")}
    if not paths.get("validation"):
        raise InputError("quantise: no good images are held out; int8 needs them for thresholds of its own")
    if not paths.get("test"):
        raise InputError("quantise: there are no test photographs; expected some, on which the cost is measured")
    _check_thresholds(detector, _scored(detector, graph, paths["validation"]))
    good = _images(detector, paths["train"][:MOST_IMAGES])
    whole = _quantised(detector, graph, good, paths["validation"][:MOST_IMAGES], tolerance)
    method = copy.copy(detector.method)
    names = list(samples.loc[samples["split"] == "validation", "image"])
    method.card = _recalibrated(detector, _scored(detector, whole, paths["validation"]), names)
    with_int8 = Detector(method, device="cpu", weights=detector.weights)
    test = samples[samples["split"] == "test"]
    rows = [
        {"graph": name, **_metrics(one, content, test, root)}
        for name, one, content in (("float32", detector, graph), ("int8", with_int8, whole))
    ]
    return Exported(with_int8, whole, pd.DataFrame(rows))


def _recalibrated(detector: Detector, held_out: ScoredMaps, names: Sequence[str]) -> Card:
    """Return the card with thresholds from the scores of the graph, without the outliers of the float32 detector.

    A score that is just too far from the others to count may count by a hair in int8, and move the threshold far away.
    """
    image, pixel = detector.card.decision.image, detector.card.decision.pixel
    counting = [row for row, name in enumerate(names) if name not in image.outliers]
    card = calibrated(
        detector.card,
        ScoredMaps(held_out.maps[counting], held_out.image_scores[counting], held_out.seconds),
        [names[row] for row in counting],
        target=image.target_fpr or 0.0,
        rule=image.rule,
        segmentation=pixel.of,
    )
    thresholds = card.to_json()["thresholds"]
    thresholds["image"]["outliers"] = [*image.outliers, *thresholds["image"]["outliers"]]
    return card.with_entries(thresholds=thresholds)


def _check_thresholds(detector: Detector, held_out: ScoredMaps) -> None:
    """Refuse a detector that was calibrated on other photographs since: int8 would go back to the ones before."""
    kept = detector.card.decision.image.scores
    if kept and not (
        len(kept) == len(held_out.image_scores) and np.allclose(kept, held_out.image_scores, rtol=SAME_SCORES, atol=0)
    ):
        raise InputError(
            "quantise: the detector was calibrated on other photographs than those its training held out, from which "
            "int8 would set thresholds; expected quantise=none, or detector=... to name the one before that"
        )


def _quantised(
    detector: Detector, graph: bytes, good: NDArray[np.uint8], held_out: Sequence[Path], tolerance: float
) -> bytes:
    """Return the graph with as many convolutions in int8 as its maps allow.

    The first layers are the most sensitive ones: their small differences grow on the way. So the first convolutions
    stay in float32, as few as possible; their number is found by bisection.

    Args:
        detector: the detector.
        graph: in float32.
        good: training images uint8 [N, 3, H, W], from which the ranges of the numbers are taken.
        held_out: good images by which the maps are compared.
        tolerance: largest mean difference of their maps, over the mean of the maps.

    Raises:
        InputError: the maps change by more, whichever convolutions are quantised.
    """
    import onnx

    names = [node.name for node in onnx.load_from_string(graph).graph.node if is_of_network(node, detector.method)]
    reference = _scored(detector, graph, held_out).maps
    found, low, high = b"", 0, len(names)
    while low < high:
        first = (low + high) // 2
        candidate = _in_int8(graph, names[first:], good)
        change = np.abs(_scored(detector, candidate, held_out).maps - reference).mean() / reference.mean()
        logger.info("int8 but for the first %d of %d convolutions: maps change by %.3f", first, len(names), change)
        if change <= tolerance:
            found, high = candidate, first
        else:
            low = first + 1
    if not found:
        raise InputError(
            f"export.int8_tolerance: the maps of good images change by more than {tolerance:g}, whichever convolutions "
            "are quantised; expected a larger tolerance, or quantise=none"
        )
    return found


def _in_int8(graph: bytes, names: Sequence[str], good: NDArray[np.uint8]) -> bytes:
    """Return the graph with the named convolutions in int8, ranges from good images uint8 [N, 3, H, W]."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter([good[start : start + BATCH] for start in range(0, len(good), BATCH)])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    with TemporaryDirectory(prefix="discrepancy-") as folder, _without_advice():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(graph)
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(names),
        )
        return target.read_bytes()


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence a warning that advises a step which the exporter has done; it goes to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def is_of_network(node: Any, method: Method) -> bool:
    """Say whether a node is a convolution of the frozen or the trained network.

    Others scale residuals, whose small differences 8 bits would drown.
    """
    if node.op_type != "Conv":
        return False
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    parts = {part.strip("' ") for scope in scopes.strip("[]").split(",") for part in scope.split(".")}
    networks = {"backbone"}
    if isinstance(method, GradientMethod):
        networks |= {name for name, module in method.named_children() if module is method.trained_network}
    return bool(parts & networks)


def _images(detector: Detector, paths: Sequence[Path]) -> NDArray[np.uint8]:
    return np.stack([fit_image(of_file(path).read(detector.bits), detector.resize_crop) for path in paths])


def _batches(detector: Detector, paths: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(paths), BATCH):
        yield _images(detector, paths[start : start + BATCH])


def _scored(detector: Detector, graph: bytes, paths: Sequence[Path]) -> ScoredMaps:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = [session.run(list(OUTPUTS), {INPUT: images}) for images in _batches(detector, paths)]
    maps, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return ScoredMaps(maps, scores, 0.0)


def _metrics(detector: Detector, graph: bytes, test: pd.DataFrame, root: Path) -> dict[str, float]:
    """Return the metrics of a graph on the test images."""
    scored = _scored(detector, graph, [root / name for name in test["image"]])
    shape = scored.maps.shape[1:]
    masks = np.stack(
        [
            decode_mask(root / name, detector.resize_crop) if name else np.zeros(shape, bool)
            for name in test["mask"].fillna("")
        ]
    )
    labels = test["label"].to_numpy()
    values = evaluate(scored.maps, masks, labels, scored.image_scores)
    values |= rate_metrics(scored.image_scores.astype(float) > detector.threshold, labels)
    return {name: round(float(values[name]), 4) for name in METRICS}
