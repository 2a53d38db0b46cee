"""Functions that log each kind of data to MLflow, by the kind that the catalog names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from discrepancy.methods.card import Card


def log_metrics(client: Any, run_id: str, data: Mapping[str, float | None], file: str) -> None:
    """Log numbers by name; undefined values are left out."""
    from mlflow.entities import Metric

    stamp = _now()
    metrics = [Metric(name, float(value), stamp, 0) for name, value in data.items() if value is not None]
    client.log_batch(run_id, metrics)


def log_history(client: Any, run_id: str, data: pd.DataFrame, file: str) -> None:
    """Log the columns of a history by epoch."""
    from mlflow.entities import Metric

    stamp = _now()
    if "epoch" not in data:  # a method without epochs
        return
    values = data.drop(columns="epoch").rename(columns={"seconds": "epoch_seconds"}).to_dict("list")
    metrics = [
        Metric(f"training/{name}", float(value), stamp, int(epoch))
        for name, column in values.items()
        for epoch, value in zip(data["epoch"], column, strict=True)
        if pd.notna(value)
    ]
    for start in range(0, len(metrics), 1000):  # the most that one call takes
        client.log_batch(run_id, metrics[start : start + 1000])


def log_values(client: Any, run_id: str, data: Mapping[str, Any], file: str) -> None:
    """Log numbers computed by a node, under the name of their dataset."""
    numbers = {f"{file}/{name}": value for name, value in data.items() if isinstance(value, int | float)}
    log_metrics(client, run_id, numbers, file)


def log_table(client: Any, run_id: str, data: pd.DataFrame, file: str) -> None:
    """Log a table."""
    client.log_table(run_id, data, file)


def log_text(client: Any, run_id: str, data: str, file: str) -> None:
    """Log a text."""
    client.log_text(run_id, data, file)


def log_figure(client: Any, run_id: str, path: Path) -> None:
    """Log a figure as the saved file: drawing it once more takes long."""
    client.log_artifact(run_id, str(path), "figures")


def log_detector(client: Any, run_id: str, folder: Path, card: Card) -> None:
    """Log weights and card as they were saved, and the digest of the data as a tag."""
    client.log_artifacts(run_id, str(folder), "detector")
    tag_card(client, run_id, card)


def tag_card(client: Any, run_id: str, card: Card) -> None:
    """Tag a run with the data and the network of its detector."""
    client.set_tag(run_id, "data_digest", card.data_digest)
    client.set_tag(run_id, "backbone", card.backbone.backbone)


def _now() -> int:
    return pd.Timestamp.now().value // 10**6


LOGGERS: Final[Mapping[str, Callable[[Any, str, Any, str], None]]] = {
    "metrics": log_metrics,
    "history": log_history,
    "values": log_values,
    "table": log_table,
    "text": log_text,
}
