"""Nodes of the export pipeline: the graph, its comparison with PyTorch, and the bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from discrepancy.data.samples import data_digest
from discrepancy.errors import InputError
from discrepancy.export.bundle import GRAPH, bundle_files, write_bundle
from discrepancy.export.comparison import Exactness, ExportPhotographs, check, compare, largest
from discrepancy.export.graph import onnx_graph
from discrepancy.export.quantisation import Exported, quantise
from discrepancy.figures.tables import text_table
from discrepancy.pipelines.export.parameters import ExportParameters
from discrepancy.prediction.detector import Detector

logger = logging.getLogger(__name__)


def export_graph(detector: Detector) -> bytes:
    """Return the detector as an ONNX model."""
    logger.info("exporting %s: a minute or less", detector.method.title)
    return onnx_graph(detector.to("cpu").method)


def quantise_graph(
    detector: Detector, graph: bytes, photographs: ExportPhotographs, parameters: ExportParameters
) -> Exported:
    """Quantise the graph if that is asked for.

    Args:
        detector: the detector.
        graph: its export.
        photographs: with the sample table of the training.
        parameters: say what is asked for.

    Raises:
        InputError: the sample table of the training is not on disk, or a photograph cannot be read.
    """
    if parameters.quantise == "none":
        return Exported(detector, graph)
    samples = photographs.samples
    if data_digest(samples) != detector.card.data_digest:
        raise InputError(
            "quantise: the sample table on disk is not that of the detector's training, so the images that it held out "
            "are not known; expected kedro run --pipelines=ingestion with the parameters of the training before"
        )
    return quantise(detector, graph, samples, photographs.data_root, tolerance=parameters.int8_tolerance)


def compare_with_pytorch(exported: Exported, photographs: ExportPhotographs) -> pd.DataFrame:
    """Score photographs by PyTorch and by the bundle's own program; return a line for each.

    Args:
        exported: detector and graph.
        photographs: to be compared.

    Raises:
        InputError: a photograph cannot be read, or a package is missing.
    """
    try:
        from discrepancy.export.detect import Bundle
    except ImportError as error:
        raise InputError("export: onnxruntime is missing; expected `pip install -e '.[export]'`") from error
    detector = exported.detector.to("cpu")
    with TemporaryDirectory(prefix="discrepancy-") as folder:
        write_bundle(bundle_files(detector, exported.graph), Path(folder) / "bundle")
        return compare(detector, Bundle(Path(folder) / "bundle"), photographs.paths, photographs.root)


def pack(exported: Exported, compared: pd.DataFrame, parameters: ExportParameters) -> dict[str, bytes]:
    """Return the files of the bundle.

    Args:
        exported: detector and graph.
        compared: table of the comparison.
        parameters: how exact the export must be, unless it is quantised: then its cost is told.

    Raises:
        InputError: the export differs by more.
    """
    if exported.cost is None:
        allowed = Exactness(parameters.tolerance, parameters.file_tolerance)
        measured = check(compared, exported.detector.threshold, allowed)
    else:
        measured = {**largest(compared), "cost": exported.cost.to_dict("records")}
    return bundle_files(exported.detector, exported.graph, measured=measured)


def summarise(exported: Exported, bundle: Path, compared: pd.DataFrame) -> str:
    """Return the few lines that a run ends with."""
    found = largest(compared)
    table = pd.DataFrame(
        [
            ("maps of the same images", f"{found['map_difference']:.1e}"),
            ("scores of the same images", f"{found['score_difference']:.1e}"),
            ("scores of the same files", f"{found['file_score_difference']:.1e}"),
        ],
        columns=["largest relative difference from PyTorch", ""],
    )
    size, graph = sum(path.stat().st_size for path in bundle.iterdir()) / 1e6, (bundle / GRAPH).stat().st_size / 1e6
    title = f"{exported.detector.method.title}: a bundle of {size:.1f} MB, {graph:.1f} MB of them the graph"
    if exported.cost is None:
        title += f"; on {len(compared)} photographs its decisions are PyTorch's"
    tables = [table] if exported.cost is None else [table, exported.cost]
    return "\n\n".join([title, *map(text_table, tables)]) + "\n"
