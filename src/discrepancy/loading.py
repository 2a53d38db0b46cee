"""Trained detectors from wherever they are: a folder, or MLflow."""

from __future__ import annotations

from pathlib import Path

from discrepancy.detection.storage import CARD, load_method
from discrepancy.errors import InputError
from discrepancy.prediction.detector import Detector

TRACKED = ("models:/", "runs:/")
"""Beginnings of the addresses that MLflow resolves."""


def load_detector(place: Path | str, *, weights: str | None = None, device: str = "auto") -> Detector:
    """Load a trained detector. Nothing that lies in its folder is executed.

    Args:
        place: a folder with `card.json`; a folder of versions, of which the newest is taken; or an address of MLflow,
            such as `models:/<method>-demo-cable@champion` or `runs:/<run>/detector`.
        weights: location of the frozen network's weights; by default that of the training.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        InputError: a file is missing or damaged, the detector has no thresholds yet, or the network's weights are not
            those of the training.

    Example:
        >>> from discrepancy import load_detector
        >>> detector = load_detector("data/06_models/demo/cable/<method>/detector")  # doctest: +SKIP
        >>> detector.predict("photos").to_pandas()  # doctest: +SKIP
    """
    inside = None
    if str(place).startswith(TRACKED):
        from discrepancy.tracking.models import download  # MLflow takes seconds to import

        folder, inside = download(str(place))
    else:
        folder = newest_version(Path(place))
    weights = weights or inside
    return Detector(load_method(folder, weights=weights), device=device, weights=weights)


def newest_version(folder: Path) -> Path:
    """Return the folder with the card: this one, or that of the newest version in it.

    Raises:
        InputError: there is none.
    """
    folder = folder.expanduser()
    if (folder / CARD).is_file():
        return folder
    versions = sorted(folder.glob(f"*/*/{CARD}"))
    if not versions:
        raise InputError(f"{folder}: no detector; expected a folder with {CARD}, or a folder of versions of one")
    return versions[-1].parent
