"""Kedro hooks that let a run use its own results, or fitting ones on disk; others are refused before any work."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from discrepancy.data.samples import check_photographs
from discrepancy.datasets.npy import npy_digest
from discrepancy.datasets.origin import Origin, Traced
from discrepancy.errors import InputError
from discrepancy.lineage import Lineage, has_versions
from discrepancy.pipelines.ingestion.nodes import decode_masks


class LineageHooks:
    """Hooks that choose the inputs of a run that starts in the middle, and note the origin of all that is saved."""

    def __init__(self) -> None:
        self._lineage: Lineage | None = None
        self._catalog: DataCatalog
        self._run = ""
        self._origins: dict[str, Origin] = {}

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Choose the earlier results that this run uses.

        Raises:
            InputError: a result is missing, or was made from something else.
        """
        whole = sum((pipelines[name] for name in run_params["pipeline_names"] or ["__default__"]), Pipeline([]))
        self._lineage, self._catalog = Lineage(whole, catalog), catalog
        self._run, self._origins = run_params["run_id"], {}
        versions = dict(run_params["load_versions"] or {})
        self._check_versions(versions, pipeline)
        known = self._choose(self._lineage.in_order(pipeline.inputs()), versions)
        if run_params["only_missing_outputs"]:
            self._keep_what_fits(pipeline, known)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Tell the dataset its origin."""
        if self._lineage is None:
            return
        ancestors: dict[str, str] = {}
        for name in node.inputs:
            if (origin := self._origin(name)) is not None:
                ancestors |= {**origin.ancestors, name: origin.identity}
        origin = Origin(self._run, self._lineage.parameters(dataset_name), ancestors)
        self._origins[dataset_name] = origin
        if isinstance(dataset := self._catalog.get(dataset_name), Traced):
            dataset.origin = origin

    def _check_versions(self, versions: dict[str, str], pipeline: Pipeline) -> None:
        loaded = [name for name in sorted(pipeline.inputs()) if has_versions(self._catalog.get(name))]
        for name in versions:
            if name in pipeline.all_outputs():
                raise InputError(
                    f"--load-versions: this run makes {name} itself; expected a start after that step, with "
                    "--from-nodes, or no version of it"
                )
            if name not in loaded:
                expected = f"one of {', '.join(loaded)}" if loaded else "a run that starts in the middle"
                raise InputError(f"--load-versions: this run loads no version of {name}; expected {expected}")

    def _origin(self, name: str) -> Origin | None:
        """Return the origin of a dataset that this run has loaded or saved."""
        dataset = self._catalog.get(name)
        return dataset.origin if isinstance(dataset, Traced) else self._origins.get(name)

    def _choose(self, names: list[str], versions: dict[str, str]) -> dict[str, str]:
        """Choose the versions to load: first where there is only one version, then results before causes."""
        assert self._lineage is not None
        known: dict[str, str] = {}
        versioned = [name for name in names if has_versions(self._catalog.get(name))]
        for name in [*(name for name in names if name not in versioned), *reversed(versioned)]:
            self._lineage.choose(name, known, version=versions.get(name))
        return known

    def _keep_what_fits(self, pipeline: Pipeline, known: dict[str, str]) -> None:
        """Under `--only-missing-outputs`, treat outputs that do not fit, and all made of them, as missing."""
        if "samples" in pipeline.inputs():
            self._check_data("samples")
        for node in pipeline.nodes:
            found: dict[str, Any] = {name: self._catalog.get(name) for name in node.outputs}
            outputs = {name: dataset for name, dataset in found.items() if isinstance(dataset, Traced)}
            try:
                for name in outputs:
                    self._choose_one(name, known)
            except InputError:
                for name, dataset in outputs.items():
                    dataset.stale = True
                    known[name] = ""

    def _choose_one(self, name: str, known: dict[str, str]) -> None:
        assert self._lineage is not None
        self._lineage.choose(name, known)
        self._check_data(name)

    def _check_data(self, name: str) -> None:
        """Refuse results that were made of other photographs than those on disk.

        Raises:
            InputError: they were changed.
        """
        dataset: Any = self._catalog.get(name)
        if name == "samples":
            check_photographs(dataset.load(), self._catalog.load("photographs").samples)
        if name == "masks":
            given = (self._catalog.load(name) for name in ("photographs", "samples", "params:ingestion"))
            if npy_digest(decode_masks(*given)) != dataset.origin.identity:
                raise InputError("masks on disk: the files were changed since")
