"""Origin of every dataset of a pipeline, and choice of the earlier results on disk that this run may use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from discrepancy.datasets.origin import Groups, Origin, Traced
from discrepancy.errors import InputError
from discrepancy.parameters import Parameters

_PARAMETERS: Final = "params:"
_ROOTS: Final = {"photographs": "data_root"}
"""The parameter with the location of a raw dataset."""
_UNKNOWN: Final = "?"
"""Stands for a raw dataset without identity: everything made of it is made by each run anew."""
_IRRELEVANT: Final = "run_links"
"""A raw dataset that decides nothing but where a report leads."""
_FIGURE: Final = "_figure"
"""Ends the names of figures, which decide nothing but the pages that show them."""
_TOP: Final = ("dataset", "category", "image_size", "crop", "bit_depth", "seed", "backbone")
"""Parameters of groups that users set at the top."""


class Lineage:
    """The graph of a whole pipeline with the parameters of this run, even if the run is only a part of it.

    Args:
        pipeline: the whole pipeline.
        catalog: the run's.
    """

    def __init__(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._order = [name for node in pipeline.nodes for name in sorted(node.outputs)]
        self._values = {name: catalog.load(name) for name in sorted(pipeline.inputs()) if name.startswith(_PARAMETERS)}
        self._groups = self._groups_of_datasets()
        self._siblings = {name: node.outputs for node in pipeline.nodes for name in node.outputs}

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Return those of the datasets that the pipeline makes, in the order in which it makes them."""
        wanted = set(names)
        return [name for name in self._order if name in wanted]

    def parameters(self, name: str) -> Groups:
        """Return every value that decides a dataset, by group and name."""
        final = name in self._pipeline.outputs() or name.endswith(_FIGURE)
        found: dict[str, dict[str, Any]] = {}
        for group in sorted(self._groups[name]):
            value = self._values.get(_PARAMETERS + group)
            if isinstance(value, Parameters):
                found[group] = value.deciding(final=final)
        if roots := {_ROOTS[raw] for raw in self._groups[name] if raw in _ROOTS}:
            found[""] = {root: str(self._catalog.load(_PARAMETERS + root)) for root in sorted(roots)}
        return found

    def choose(self, name: str, known: dict[str, str], *, version: str | None = None) -> None:
        """Have a dataset load the latest version on disk that fits this run and the earlier choices.

        Args:
            name: of a dataset.
            known: identities of the chosen datasets and of all their inputs; extended in place.
            version: the only one that may be chosen.

        Raises:
            InputError: nothing fits; the message gives the reason and the node to start from instead.
        """
        dataset = self._catalog.get(name)
        start = self._start(self._maker(name))
        if _UNKNOWN in self._groups[name] or not isinstance(dataset, Traced):
            raise InputError(f"{name} cannot be taken from an earlier run: {start}")
        refusal = f"{name} is not on disk: {start}"
        refusals: list[str] = []
        there: list[str] = []
        for found, origin in dataset.found():
            there.append(str(found))
            if version is not None and found != version:
                continue
            problem = self._problem(name, origin, known)
            if problem is None and origin is not None:
                dataset.use(found)
                dataset.origin = origin
                self._note({**origin.ancestors, name: origin.identity}, known)
                return
            refusals.append(str(problem))
        if version is not None and not refusals:
            latest = f"the latest there are {', '.join(there[:3])}" if there else "there are none"
            refusal = f"--load-versions: {name} has no version {version!r}; {latest}"
        raise InputError(refusals[0] if refusals else refusal)

    def _note(self, chosen: Mapping[str, str], known: dict[str, str]) -> None:
        """Note that versions saved by one step belong together, even if none is made of the other."""
        known.update(chosen)
        for name, identity in chosen.items():
            for sibling in self._siblings.get(name, ()):
                if has_versions(self._catalog.get(name)) and has_versions(self._catalog.get(sibling)):
                    known.setdefault(sibling, identity)

    def _problem(self, name: str, origin: Origin | None, known: Mapping[str, str]) -> str | None:
        """Return why a dataset on disk does not fit, and where to start instead; None if it fits."""
        if origin is None:
            return (
                f"{name} on disk: what it was made from is not known, or it was changed since; expected what this "
                "version of the project wrote: start at the beginning"
            )
        for group, key, made, now in _differences(origin.parameters, self.parameters(name)):
            shown = key if not group or key in _TOP else f"{group}.{key}"
            first = next((n.name for n in self._pipeline.nodes if _PARAMETERS + group in n.inputs), None)
            advice = self._start(first) if first else "start at the beginning"
            return f"{name} on disk: made with {shown}={made}, this run has {now}; expected the same value, or {advice}"
        for ancestor, identity in {**origin.ancestors, name: origin.identity}.items():
            if known.get(ancestor, identity) != identity:
                users = [node.name for node in self._pipeline.nodes if ancestor in node.inputs]
                return (
                    f"{name} on disk: made with another {ancestor} than what else this run would load; expected all of "
                    f"one run: {self._start(users[0] if users else None)}"
                )
        return None

    def _start(self, node: str | None) -> str:
        if node is None or node == self._pipeline.nodes[0].name:
            return "start at the beginning"
        return f"start with --from-nodes={node}"

    def _maker(self, name: str) -> str:
        return next(node.name for node in self._pipeline.nodes if name in node.outputs)

    def _groups_of_datasets(self) -> dict[str, set[str]]:
        """Return the parameter groups, and the raw datasets, that each dataset depends on."""
        found: dict[str, set[str]] = {name: {_UNKNOWN} for name in self._raw()} | {name: {name} for name in _ROOTS}
        for node in self._pipeline.nodes:
            own = {name.removeprefix(_PARAMETERS) for name in node.inputs if name.startswith(_PARAMETERS)}
            groups = own.union(*(found.get(name, set()) for name in node.inputs))
            found |= dict.fromkeys(node.outputs, groups)
        return found

    def _raw(self) -> list[str]:
        """Return the inputs that no step makes and no parameter sets, without those that decide nothing."""
        from discrepancy.datasets.detector import CheckpointDataset  # imports PyTorch

        names = [name for name in self._pipeline.inputs() if not name.startswith(_PARAMETERS) and name != _IRRELEVANT]
        return [name for name in names if not isinstance(self._catalog.get(name), CheckpointDataset)]


def has_versions(dataset: Any) -> bool:
    """Return whether a dataset of the catalog keeps the versions of each run."""
    return getattr(dataset, "_version", None) is not None


def _differences(made: Groups, now: Groups) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield group, name, and both values, of every parameter that differs."""
    for group in {**made, **now}:
        old, new = made.get(group, {}), now.get(group, {})
        for key in {**old, **new}:
            if (key in old) != (key in new) or old[key] != new[key]:
                yield group, key, old.get(key), new.get(key)
