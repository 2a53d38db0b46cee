"""Functions that log each kind of data to MLflow, by the kind that the catalog names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from discrepancy.data.samples import data_digest
from discrepancy.tracking.record import RunRecord, TestData

if TYPE_CHECKING:  # PyTorch takes seconds, which `kedro --help` need not
    from discrepancy.methods.base import Method
    from discrepancy.methods.card import Card

TEST: Final = "test"
"""Split of the sample table that the others do not see, and MLflow's context for it."""


def log_metrics(run: RunRecord, data: Mapping[str, float | None], file: str) -> None:
    """Log numbers of the test set by name; undefined values are left out."""
    run.log_metrics({name: value for name, value in data.items() if value is not None}, tested=True)


def log_history(run: RunRecord, data: pd.DataFrame, file: str) -> None:
    """Log the columns of a history by epoch."""
    if "epoch" not in data:  # a method without epochs
        return
    values = data.drop(columns="epoch").rename(columns={"seconds": "epoch_seconds"}).to_dict("list")
    run.log_epochs(
        {
            f"training/{name}": [
                (int(epoch), float(value))
                for epoch, value in zip(data["epoch"], column, strict=True)
                if pd.notna(value)
            ]
            for name, column in values.items()
        }
    )


def log_values(run: RunRecord, data: Mapping[str, Any], file: str) -> None:
    """Log numbers computed by a node, under the name of their dataset."""
    run.log_metrics({f"{file}/{name}": value for name, value in data.items() if isinstance(value, int | float)})


def log_table(run: RunRecord, data: pd.DataFrame, file: str) -> None:
    """Log a table."""
    run.client.log_table(run.run_id, data, file)


def log_text(run: RunRecord, data: str, file: str) -> None:
    """Log a text."""
    run.client.log_text(run.run_id, data, file)


def log_figure(run: RunRecord, path: Path) -> None:
    """Log a figure as the saved file: drawing it once more takes long."""
    run.client.log_artifact(run.run_id, str(path), "figures")


def log_detector(run: RunRecord, folder: Path, method: Method) -> None:
    """Log a detector as a model, from the files that were saved, and what it was trained with as tags."""
    from discrepancy.tracking.models import log_model

    run.link_model(log_model(run.client, run.run_id, folder, method))
    tag_card(run, method.card)


def tag_card(run: RunRecord, card: Card) -> None:
    """Tag a run with what its detector was trained with: data, network, device, precision, versions."""
    gpu = "" if card.device == "cpu" else card.device
    tags = {
        "data_digest": card.data_digest,
        "backbone": card.backbone.backbone,
        "device": "gpu" if gpu else card.device,
        "gpu": gpu,
        "precision": card.precision,
        **{f"version.{name}": version for name, version in card.versions.items() if name in ("discrepancy", "torch")},
    }
    run.set_tags({name: value for name, value in tags.items() if value})


def log_data(run: RunRecord, samples: pd.DataFrame, *, name: str, folder: str) -> None:
    """Log the images of a sample table as inputs of a run: those that training sees, and those of the test.

    Args:
        run: the run.
        samples: the sample table.
        name: of the data, `<dataset>/<category>`.
        folder: location of the photographs.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    inputs = []
    tested = samples["split"] == TEST
    for context, part in (("train", samples[~tested]), (TEST, samples[tested])):
        if len(part) == 0:
            continue
        digest = data_digest(part)[:12]  # MLflow shows it in a narrow column, and takes at most 36 characters
        counts = part["split"].value_counts().to_dict()
        profile = {"num_rows": len(part), **counts, "anomalous": int(part["label"].sum())}
        data = Dataset(name, digest, "local", json.dumps({"uri": folder}), profile=json.dumps(profile))
        inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", context)]))
        if context == TEST:
            run.test_data = TestData(name, digest)
    try:
        run.client.log_inputs(run.run_id, inputs)
    except MlflowException:  # MLflow looks for the data, then adds them: another run may have added them in between
        run.client.log_inputs(run.run_id, inputs)


LOGGERS: Final[Mapping[str, Callable[[RunRecord, Any, str], None]]] = {
    "metrics": log_metrics,
    "history": log_history,
    "values": log_values,
    "table": log_table,
    "text": log_text,
}
