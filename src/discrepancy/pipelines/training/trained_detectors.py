"""Detectors that other runs have trained on the same part."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from discrepancy.detection import load_method
from discrepancy.errors import InputError
from discrepancy.methods.base import Method

logger = logging.getLogger(__name__)


def trained_detectors(models: Path, names: Iterable[str]) -> Iterator[Method]:
    """Yield the newest trained detector of each method, where there is one that can be read.

    Args:
        models: folder of the part's models, as the catalog lays it out: `<method>/trained/<version>/trained`.
        names: of the methods.
    """
    for name in names:
        versions = sorted((models / name / "trained").glob("*/trained"))
        if not versions:
            continue
        try:
            yield load_method(versions[-1])
        except InputError as error:
            logger.warning("%s: the trained detector is left out: %s", name, error)
