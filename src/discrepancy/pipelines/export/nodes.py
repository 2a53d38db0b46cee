"""Nodes of the export pipeline: the graph, its comparison with PyTorch, and the bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from discrepancy.errors import InputError
from discrepancy.export.bundle import GRAPH, bundle_files, write_bundle
from discrepancy.export.comparison import Exactness, check, compare
from discrepancy.export.graph import onnx_graph
from discrepancy.figures.tables import text_table
from discrepancy.pipelines.export.parameters import ExportParameters
from discrepancy.prediction.detector import Detector

logger = logging.getLogger(__name__)


def export_graph(detector: Detector) -> bytes:
    """Return the detector as an ONNX model."""
    logger.info("exporting %s: a minute or less", detector.method.title)
    return onnx_graph(detector.to("cpu").method)


def compare_with_pytorch(detector: Detector, graph: bytes, photographs: tuple[Path, list[Path]]) -> pd.DataFrame:
    """Score photographs by PyTorch and by the bundle's own program; return a line for each.

    Args:
        detector: the detector.
        graph: its export.
        photographs: a folder, and photographs in it.

    Raises:
        InputError: a photograph cannot be read, or a package is missing.
    """
    try:
        from discrepancy.export.detect import Bundle
    except ImportError as error:
        raise InputError("export: onnxruntime is missing; expected `pip install -e '.[export]'`") from error
    root, paths = photographs
    with TemporaryDirectory(prefix="discrepancy-") as folder:
        write_bundle(bundle_files(detector, graph), Path(folder) / "bundle")
        return compare(detector.to("cpu"), Bundle(Path(folder) / "bundle"), paths, root)


def pack(detector: Detector, graph: bytes, compared: pd.DataFrame, parameters: ExportParameters) -> dict[str, bytes]:
    """Return the files of the bundle.

    Args:
        detector: the detector.
        graph: its export.
        compared: table of the comparison.
        parameters: how exact the export must be.

    Raises:
        InputError: the export differs by more.
    """
    allowed = Exactness(parameters.tolerance, parameters.file_tolerance)
    return bundle_files(detector, graph, measured=check(compared, detector.threshold, allowed))


def summarise(detector: Detector, bundle: Path, compared: pd.DataFrame) -> str:
    """Return the few lines that a run ends with."""
    largest = compared[["score_difference", "map_difference", "file_score_difference"]].max()
    table = pd.DataFrame(
        [
            ("maps of the same images", largest["map_difference"]),
            ("scores of the same images", largest["score_difference"]),
            ("scores of the same files", largest["file_score_difference"]),
        ],
        columns=["largest relative difference from PyTorch", ""],
    ).map(lambda value: f"{value:.1e}" if isinstance(value, float) else value)
    size, graph = sum(path.stat().st_size for path in bundle.iterdir()) / 1e6, (bundle / GRAPH).stat().st_size / 1e6
    return "\n".join(
        [
            f"{detector.method.title}: a bundle of {size:.1f} MB, {graph:.1f} MB of them the graph; on {len(compared)} "
            "photographs its decisions are PyTorch's",
            "",
            text_table(table),
            "",
        ]
    )
