"""Kedro hooks that end a run with its short table and the next steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from tqdm import tqdm

from discrepancy.tracking.address import shown_address

_PLACES = (
    ("report", "report"),
    ("report", "page"),
    ("gallery", "gallery_figure"),
    ("correlations", "correlation_figure"),
    ("pictures", "segmentations"),
    ("animation", "animation"),
    ("maps", "original_maps"),
    ("table", "table"),
    ("predictions", "predictions"),
    ("detector", "detector"),
    ("detector", "calibrated"),
    ("bundle", "bundle"),
    ("compared", "compared"),
    ("drift", "drift_figure"),
    ("photographs", "contact_figure"),
)
"""Labels of the results that a run ends with, and their datasets."""


class SummaryHooks:
    """Hooks that summarise the saved results of a run, and drop the checkpoints it no longer needs."""

    def __init__(self) -> None:
        self._project = Path()
        self._saved: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's folder."""
        self._project = Path(context.project_path)

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Forget the run before."""
        from discrepancy.peak_memory import reset_peaks  # with PyTorch, which takes seconds

        self._saved = set()
        reset_peaks()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember the saved dataset."""
        self._saved.add(dataset_name)

    @hook_impl
    def after_node_run(self, node: Node, catalog: DataCatalog) -> None:
        """Remember the final state of a training."""
        for checkpoint in _checkpoints(node.inputs, catalog):
            checkpoint.finish()

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the summaries of this run."""
        names = [name for name in sorted(pipeline.datasets()) if f"{name.partition('.')[0]}.detector" in self._saved]
        for checkpoint in _checkpoints(names, catalog):
            checkpoint.clear()  # its training is saved, and used
        if not self._saved:
            tqdm.write("Nothing to do: all outputs are there, made from the same data with the same parameters.")
        for name in sorted(self._saved):
            if name.endswith(".summary"):
                namespace = name.removesuffix(".summary")
                tqdm.write(f"\n{catalog.load(name)}{self._next_steps(catalog, namespace)}")

    def _next_steps(self, catalog: DataCatalog, namespace: str) -> str:
        """Return where to look next, given the saved results."""
        names = [(label, f"{namespace}.{name}") for label, name in _PLACES]
        places = [(label, _place(catalog.get(name))) for label, name in names if name in self._saved]
        lines = [f"{label:<13}{place}" for label, place in places if not _is_empty(place)]
        if f"{namespace}.table" in self._saved:
            address = shown_address(self._project)
            lines.append(f"compare      {address}")
            lines.append(f"graph        kedro viz run --pipeline={namespace}")
        return "".join(f"{line}\n" for line in lines)


def _checkpoints(names: list[str], catalog: DataCatalog) -> list[Any]:
    from discrepancy.datasets.detector import CheckpointDataset  # imports PyTorch

    found = [catalog.get(name) for name in names if not name.startswith("params:")]
    return [dataset for dataset in found if isinstance(dataset, CheckpointDataset)]


def _place(dataset: Any) -> str:
    """A path from where the user stands, or the address of a store."""
    from discrepancy.datasets.own import OwnDataset  # imports PyTorch

    place = dataset.address if isinstance(dataset, OwnDataset) else str(dataset.load())
    return place if "://" in place else os.path.relpath(place)


def _is_empty(place: str) -> bool:
    return os.path.isdir(place) and not os.listdir(place)
