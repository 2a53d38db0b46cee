"""Nodes of the predict pipeline: photographs listed, examined, and shown on a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from discrepancy.data.photographs import DEMO
from discrepancy.data.reading import pillow_limit_disabled
from discrepancy.detection.storage import save_method
from discrepancy.errors import InputError
from discrepancy.figures.prediction_page import PageRow, prediction_page
from discrepancy.figures.tables import text_table
from discrepancy.pipelines.predict.parameters import PredictParameters
from discrepancy.prediction.detector import Detector
from discrepancy.prediction.job import NamedFile, examine_files
from discrepancy.prediction.output import PictureWriter, picture_path
from discrepancy.prediction.remote import examine_on_dask
from discrepancy.prediction.results import ANOMALOUS, COLUMNS, GOOD, UNREADABLE, printable
from discrepancy.prediction.sources import common_folder, files_in
from discrepancy.prediction.store import Entry, PredictionStore, stamp_of

logger = logging.getLogger(__name__)

DETECTOR = "detector"
"""Folder of the detector for the workers of a scheduler, beside the results."""


class UnreadableError(InputError):
    """No photograph could be read."""

    exit_code = 2


def find_photographs(store: PredictionStore, parameters: PredictParameters) -> pd.DataFrame:
    """List the photographs: `file`, relative to the folder that was given, `path`, and `bytes` and `changed` (ns).

    Args:
        store: the folder of the results; what lies in it is no photograph.
        parameters: of the pipeline.

    Raises:
        InputError: no photographs are named, or there are none.
    """
    if not parameters.input:
        raise InputError("input: nothing given; expected a photograph, a folder or a pattern, input=/photos")
    found = files_in(parameters.input, without=store.folder)
    root = common_folder(parameters.input)
    stamps = [stamp_of(path) for path in found]
    logger.info("%s: %d photographs", parameters.input, len(found))
    # As objects: names may have bytes that are no UTF-8, which pandas' own type for text refuses.
    return pd.DataFrame(
        {
            "file": pd.Series([path.relative_to(root).as_posix() for path in found], dtype=object),
            "path": pd.Series([str(path.absolute()) for path in found], dtype=object),
            "bytes": [size for size, _ in stamps],
            "changed": [changed for _, changed in stamps],
        }
    )


def examine(
    detector: Detector, photographs: pd.DataFrame, store: PredictionStore, parameters: PredictParameters
) -> list[Entry]:
    """Examine the photographs that were not examined before, and return the entries of all, in their order.

    Args:
        detector: the trained detector.
        photographs: the table of files.
        store: keeps each entry as soon as its pictures are written.
        parameters: what is written, and where it is computed.
    """
    files = [
        NamedFile(file, Path(path), (size, changed))
        for file, path, size, changed in photographs.itertuples(index=False)
    ]
    writer = PictureWriter(store.folder, parameters.overlays, parameters.maps, parameters.masks, parameters.page)
    kinds = {"overlays": writer.overlays, "maps": writer.maps, "masks": writer.masks, "thumbnails": writer.thumbnails}
    with pillow_limit_disabled(), store.opened({"detector": detector.digest, **kinds}):
        known = {file.name for file in files if (entry := store.find(file.name, file.stamp)) and entry.readable}
        missing = [file for file in files if file.name not in known]
        if known:
            logger.info("%d of %d photographs were examined before", len(known), len(files))
        for entry in _watched(_entries(detector, missing, writer, store, parameters), len(known), len(files)):
            store.add(entry)
        found = (store.find(file.name, file.stamp) for file in files)
        return [entry for entry in found if entry is not None]


def tabulate(entries: list[Entry]) -> pd.DataFrame:
    """Return one line per photograph: file, score, threshold, decision, regions and their largest area, seconds."""
    table = pd.DataFrame([printable(entry.line) for entry in entries], columns=list(COLUMNS))
    return table.astype({"regions": "Int64", "largest_region": "Int64"}).fillna({"reason": ""})


def write_page(entries: list[Entry], detector: Detector, parameters: PredictParameters) -> str:
    """Write the page of all photographs, sortable and with filters; nothing but a notice if it was not asked for."""
    if not parameters.page:
        return ""
    rows = [
        PageRow(dict(entry.line), entry.outline, entry.thumbnail, picture_path(entry.file, ".jpg").as_posix())
        for entry in entries
    ]
    synthetic = " (trained on synthetic images)" if detector.card.dataset == DEMO else ""
    title = f"{detector.method.title} on {detector.card.category or 'new photographs'}{synthetic}"
    return prediction_page(title, rows, pictures="overlays" if parameters.overlays else "thumbnails")


def summarise(table: pd.DataFrame, detector: Detector, parameters: PredictParameters) -> str:
    """Return the few lines that a run ends with.

    Raises:
        UnreadableError: no photograph could be read.
    """
    counts = table["decision"].value_counts()
    anomalous, good, unreadable = (int(counts.get(decision, 0)) for decision in (ANOMALOUS, GOOD, UNREADABLE))
    if unreadable == len(table):
        raise UnreadableError(
            f"{parameters.input}: none of {unreadable} photographs could be read; predictions.csv says why, the first: "
            f"{table['reason'].iloc[0]}"
        )
    readable = table[table["decision"] != UNREADABLE].astype({"regions": int, "largest_region": int})
    highest = readable.nlargest(8, "score")
    lines = [
        f"{detector.method.title}: {anomalous} of {anomalous + good} photographs are anomalous, "
        f"their score above {detector.threshold:.4g}",
        "",
        text_table(highest[["file", "score", "decision", "regions", "largest_region"]]),
    ]
    if unreadable:
        lines += ["", f"{unreadable} of {len(table)} files could not be read; predictions.csv says why"]
    return "\n".join([*lines, ""])


def _entries(
    detector: Detector,
    files: list[NamedFile],
    writer: PictureWriter,
    store: PredictionStore,
    parameters: PredictParameters,
) -> Iterator[Entry]:
    if not files:
        return iter(())
    if not parameters.scheduler:
        return examine_files(detector.to(parameters.device), files, writer, batch_size=parameters.batch_size)
    folder = store.folder / DETECTOR
    save_method(detector.method, folder)
    return examine_on_dask(
        folder,
        detector.digest,
        files,
        writer,
        parameters.scheduler,
        weights=detector.weights,
        device=parameters.device,
        batch_size=parameters.batch_size,
    )


def _watched(entries: Iterator[Entry], done: int, total: int) -> Iterator[Entry]:
    """Yield the same entries, with a progress bar on a terminal: photographs per second, and the time that is left."""
    with tqdm(total=total, initial=done, desc="examining", unit="photograph", disable=None, smoothing=0.1) as bar:
        for entry in entries:
            yield entry
            bar.update()
