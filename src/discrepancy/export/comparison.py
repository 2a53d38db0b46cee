"""An exported detector compared with the one that it was made from, photograph by photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from discrepancy.data.images import fit_image
from discrepancy.errors import InputError
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.sources import of_file

if TYPE_CHECKING:  # ONNX Runtime is an extra
    from discrepancy.export.detect import Bundle

BATCH: Final = 8
"""Photographs that are compared at a time."""
EXACT: Final = 1e-4
"""Largest relative difference of maps and scores for the same images."""
FROM_FILES: Final = 1e-3
"""Largest relative difference of scores from the file on: decoders and resizing may differ by single grey levels."""
DIFFERENCES: Final = ("score_difference", "map_difference", "file_score_difference")
COLUMNS: Final = ("file", "pytorch_score", "onnx_score", "file_score", *DIFFERENCES)


class ExportPhotographs(NamedTuple):
    """Photographs that an export is compared on, and the training's.

    Attributes:
        root: folder that names are relative to.
        paths: of the photographs.
        data_root: folder that the names in the sample table are relative to.
        load_samples: returns the sample table of the training; None where it is not on disk.
    """

    root: Path
    paths: list[Path]
    data_root: Path
    load_samples: Callable[[], pd.DataFrame] | None = None

    @property
    def samples(self) -> pd.DataFrame:
        """The sample table of the training.

        Raises:
            InputError: it is not on disk.
        """
        if self.load_samples is None:
            raise InputError(
                "quantise: the sample table of the training is not on disk; int8 needs its good images. Expected "
                "kedro run --pipelines=ingestion with the parameters of the training before"
            )
        return self.load_samples()


class Exactness(NamedTuple):
    """Largest relative differences of an export from the detector.

    Attributes:
        images: of maps and scores of the same images.
        files: of scores from the same files.
    """

    images: float = EXACT
    files: float = FROM_FILES


def compare(detector: Detector, bundle: Bundle, paths: Sequence[Path], root: Path) -> pd.DataFrame:
    """Score photographs by PyTorch and by ONNX Runtime; return a line for each, with the columns `COLUMNS`.

    Differences are relative: of scores to PyTorch's score, of maps to the highest value of PyTorch's map. For
    `file_score_difference` the bundle's own program has read and resized the file.

    Args:
        detector: the detector, on the CPU.
        bundle: its export.
        paths: of the photographs.
        root: folder that names are relative to.

    Raises:
        InputError: a photograph cannot be read.
    """
    if not paths:
        raise InputError("export: there are no test photographs to compare on; expected some, or input=/photos")
    with tqdm(total=len(paths), desc="comparing", unit="photograph", disable=None) as bar:
        lines = []
        for line in _lines(detector, bundle, paths, root):
            lines.append(line)
            bar.update()
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _lines(detector: Detector, bundle: Bundle, paths: Sequence[Path], root: Path) -> Iterator[dict[str, Any]]:
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        images = np.stack([fit_image(of_file(path).read(detector.bits), detector.resize_crop) for path in part])
        expected = detector.score(images)
        maps, scores = bundle.score(images)
        own = np.stack([_read_by(bundle, path) for path in part])
        _, from_files = bundle.score(own)
        reference = expected.image_scores.cpu().numpy()
        differences = _map_differences(maps, expected.maps.cpu().numpy())
        for row, path in enumerate(part):
            yield {
                "file": path.relative_to(root).as_posix(),
                "pytorch_score": float(reference[row]),
                "onnx_score": float(scores[row]),
                "file_score": float(from_files[row]),
                "score_difference": relative(scores[row], reference[row]),
                "map_difference": differences[row],
                "file_score_difference": relative(from_files[row], reference[row]),
            }


def _read_by(bundle: Bundle, path: Path) -> NDArray[np.uint8]:
    """Return the image that a bundle's program makes of a photograph, uint8 [3, H, W]."""
    try:
        return bundle.fitted(bundle.read(path.read_bytes(), str(path)))
    except ValueError as error:  # of the program, which does not know the package's errors
        raise InputError(f"export: a bundle cannot read a photograph that this package reads: {error}") from error


def relative(value: float, reference: float) -> float:
    """Return the difference of a value from a reference, relative to that."""
    return float(abs(value - reference)) / max(float(abs(reference)), float(np.finfo(np.float32).tiny))


def _map_differences(maps: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    highest = np.abs(reference).max((1, 2)).clip(np.finfo(np.float32).tiny)
    return np.asarray(np.abs(maps - reference).max((1, 2)) / highest, dtype=np.float64)


def largest(table: pd.DataFrame) -> dict[str, Any]:
    """Return the number of photographs in a table of `compare`, and the largest of their differences."""
    return {"photographs": len(table), **{column: float(table[column].max()) for column in DIFFERENCES}}


def check(table: pd.DataFrame, threshold: float, allowed: Exactness) -> dict[str, Any]:
    """Return `largest` of a table of `compare`; refuse an export that differs by more than is allowed.

    Args:
        table: of `compare`.
        threshold: of the decisions.
        allowed: the largest differences.

    Raises:
        InputError: a difference is larger, or a decision is another; the message names the photograph.
    """
    limits = (allowed.images, allowed.images, allowed.files)
    for column, limit in zip(DIFFERENCES, limits, strict=True):
        worst = table.loc[table[column].fillna(np.inf).idxmax()]  # NaN is no number to be relied on
        if not worst[column] <= limit:
            raise InputError(
                f"{worst['file']}: {column.replace('_', ' ')} of the export {worst[column]:.2g}; expected at most "
                f"{limit:g}, relative to PyTorch's"
            )
    anomalous = table["pytorch_score"] > threshold
    other = table[(anomalous != (table["onnx_score"] > threshold)) | (anomalous != (table["file_score"] > threshold))]
    if len(other):
        raise InputError(f"{other['file'].iloc[0]}: the export decides otherwise than PyTorch; expected the same")
    return largest(table)
