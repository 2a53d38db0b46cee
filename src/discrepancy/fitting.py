"""A detector from a folder of good photographs, in one call: the steps of a run, without its files."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.photographs import Photographs
from discrepancy.data.samples import FolderScan, ImageRecord, sample_table
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache
from discrepancy.methods.registry import DEFAULT, METHODS
from discrepancy.pipelines.ingestion.nodes import decode_images, split_samples
from discrepancy.pipelines.scoring.nodes import set_thresholds
from discrepancy.pipelines.scoring.parameters import ScoringParameters
from discrepancy.pipelines.training.nodes import plan_features, prepare, score_held_out, train
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.sources import common_folder, files_in


def fit_detector(  # noqa: PLR0913 (a run's parameters, each by its name)
    good: Path | str,
    *,
    method: str = DEFAULT,
    image_size: int | str | tuple[int, int] = 256,
    crop: int | str | tuple[int, int] | None = None,
    bit_depth: int | None = None,
    false_positive_rate: float = 0.01,
    calibration: Literal["holdout", "cross"] = "holdout",
    seed: int = 0,
    cache: Path | str | None = None,
    **parameters: Any,
) -> Detector:
    """Learn from photographs of good parts, and set the thresholds on those held out.

    All images are kept in memory. `kedro run` gives the same detector, and metrics, report and history besides.

    Args:
        good: a folder with all folders in it, or a pattern; 30 photographs or more.
        method: name of the method.
        image_size: height and width that photographs are resized to, px; one number for a square, or `"640x256"`.
        crop: height and width cut out of the centre after resizing, px.
        bit_depth: bits that 16-bit photographs use; None: as the files say.
        false_positive_rate: target of the thresholds, in [0, 1).
        calibration: thresholds from a fifth of the photographs, or from all of them by cross-fitting: five trainings
            more.
        seed: draws the held-out photographs, and starts the training.
        cache: folder that keeps the frozen network's features for the next call; by default they are not kept.
        parameters: of the method, such as `epochs=20` or `device="cpu"`.

    Raises:
        InputError: a photograph cannot be read, there are too few, or a parameter is not as expected.

    Example:
        >>> from discrepancy import fit_detector
        >>> detector = fit_detector("photos/good", method="patchcore")  # doctest: +SKIP
        >>> detector.save("lamp")  # doctest: +SKIP
        >>> detector.predict("photos/new").to_pandas()  # doctest: +SKIP
    """
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not known; expected {', '.join(METHODS)}")
    kind = METHODS[method]
    root = common_folder(good)
    chosen = kind.Parameters.model_validate({"seed": seed, **parameters})
    ingestion = IngestionParameters.model_validate(
        {
            "dataset": "folder",
            "category": root.absolute().name,
            "image_size": image_size,
            "crop": crop,
            "bit_depth": bit_depth,
            "calibration": calibration,
            "seed": seed,
        }
    )
    scoring = ScoringParameters.model_validate({"device": chosen.device, "false_positive_rate": false_positive_rate})
    scan = FolderScan(found=[ImageRecord(path, None, "train", 0, "good") for path in files_in(good)])
    photographs = Photographs(root, sample_table(scan, root=root))
    samples = split_samples(photographs, ingestion)
    images = decode_images(photographs, samples, ingestion).to_numpy()
    with ExitStack() as stack:
        if kind.uses_cache:
            folder = Path(cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="discrepancy-")))
            cached = FeatureCache(folder)
            features = cached.get(plan_features(kind, images, samples, chosen, ingestion))
            results = [
                cached.resolved(prepare(kind, preparation, images, samples, features, chosen, ingestion))
                for preparation in kind.preparations
            ]
            trained, _ = train(kind, images, samples, features, None, chosen, ingestion, *results)
        else:
            features = None
            trained, _ = train(kind, images, samples, None, None, chosen, ingestion)
        held_out = score_held_out(kind, trained, images, samples, features, None, chosen, ingestion).computed()
    fitted, _ = set_thresholds(trained, held_out, samples, scoring, ingestion)
    return Detector(fitted, device=chosen.device)
