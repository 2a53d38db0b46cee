"""A bundle: a folder with a detector's graph, its card and a program, for computers without PyTorch."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from discrepancy.atomic import check_replaceable, replacing
from discrepancy.methods.card import Card
from discrepancy.prediction.detector import Detector

FORMAT: Final = 1
"""Version of bundles."""
GRAPH, CARD, PROGRAM, REQUIREMENTS, README = "model.onnx", "card.json", "detect.py", "requirements.txt", "README.md"
FILES: Final = (GRAPH, CARD, PROGRAM, REQUIREMENTS, README)
PACKAGES: Final = ("onnxruntime", "numpy", "pillow")
"""All that a bundle needs."""
POINTS: Final = 400
"""Scores on each side of the threshold for which the table of false alarms is computed."""
FURTHEST: Final = 1000.0
"""Scores of the table lie between the threshold over this and the threshold times this."""


def bundle_files(detector: Detector, graph: bytes, *, measured: dict[str, Any] | None = None) -> dict[str, bytes]:
    """Return the files of a bundle by name.

    Args:
        detector: the detector.
        graph: its ONNX graph.
        measured: entries of the comparison with PyTorch, for the card.
    """
    card = bundle_card(detector, graph, measured=measured)
    environment = Environment(
        loader=PackageLoader("discrepancy.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    readme = environment.get_template("bundle.md").render(
        detector=detector, card=detector.card, megabytes=len(graph) / 1e6
    )
    return {
        GRAPH: graph,
        CARD: (json.dumps(card, indent=2) + "\n").encode(),
        PROGRAM: files("discrepancy.export").joinpath(PROGRAM).read_bytes(),
        REQUIREMENTS: requirements().encode(),
        README: readme.encode(),
    }


def bundle_card(detector: Detector, graph: bytes, *, measured: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the detector's card with an entry `bundle`: all that the program needs besides the graph."""
    entry = {
        "format": FORMAT,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "title": detector.method.title,
        "segmentation": asdict(detector.segmentation),
        "false_alarms": false_alarms(detector.card),
        "compared": measured or {},
    }
    return {**detector.card.to_json(), "bundle": entry}


def false_alarms(card: Card) -> dict[str, list[float]] | None:
    """Return scores and the share of good parts that are expected to score at least so high; None on older cards.

    Between two of the scores the logarithm of the share is interpolated. Where the share jumps, as it does where the
    held-out scores stand for themselves, both sides of each jump are listed.
    """
    calibration = card.decision.image.calibration
    if calibration is None:
        return None
    threshold = card.decision.image.value
    held_out = np.asarray(calibration.scores)
    around = np.geomspace(1 / FURTHEST, FURTHEST, 2 * POINTS) * (threshold if threshold > 0 else 1.0)
    scores = np.unique(np.concatenate([around, held_out, np.nextafter(held_out, np.inf)]))
    shares = np.maximum(calibration.false_alarm_probability(scores), np.finfo(np.float64).tiny)
    return {"scores": scores.tolist(), "probabilities": shares.tolist()}


def requirements() -> str:
    """Return the packages of a bundle: the versions that it was compared with, or later ones."""
    return "".join(f"{name}>={version(name)}\n" for name in PACKAGES)


def check_place(folder: Path) -> None:
    """Refuse a folder that holds something else than a bundle: writing one there would delete it.

    Raises:
        InputError: it does.
    """
    check_replaceable(folder, FILES, what="a bundle")


def write_bundle(content: dict[str, bytes], folder: Path) -> Path:
    """Write a bundle's folder, and beside it the same as a .zip file; each whole or not at all. Return the .zip.

    Raises:
        InputError: the folder holds something else than a bundle.
    """
    check_place(folder)
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, data in content.items():
            (temporary / name).write_bytes(data)
    archive = folder.with_name(folder.name + ".zip")
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            packed.writestr(f"{folder.name}/{name}", data)
    return archive
