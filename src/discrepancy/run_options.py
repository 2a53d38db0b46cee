"""Options of `kedro run` that name parts of a pipeline: a wrong name is refused with those that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner, ParallelRunner
from kedro.utils import load_obj

from discrepancy.errors import InputError
from discrepancy.parameters import known, suggestion

DEFAULT = "__default__"
RUNNERS = ("SequentialRunner", "ThreadRunner")


def check_run_options(options: Mapping[str, Any]) -> None:
    """Check that pipelines, steps, tags, data sets and runner of a run exist, and that some step is left to run.

    Args:
        options: those of Kedro's `run`, by the names of its arguments.

    Raises:
        InputError: one does not; the message names the option and what exists.
    """
    _check_runner(options["runner"] or RUNNERS[0], {**options["runner_params"], **_asynchronous(options)})
    if options["pipeline"] and options["pipelines"]:
        raise InputError("--pipeline and --pipelines are given; expected one of the two")
    asked = [options["pipeline"]] if options["pipeline"] else list(options["pipelines"])
    _refuse_unknown("--pipeline" if options["pipeline"] else "--pipelines", asked, pipelines)
    whole = sum((pipelines[name] for name in asked or [DEFAULT]), Pipeline([]))
    steps = {node.name for node in whole.nodes}
    spaces = {prefix for node in whole.nodes if node.namespace for prefix in _prefixes(node.namespace)}
    data = {name for name in whole.datasets() if not name.startswith("params:") and name != "parameters"}
    for option, kinds in {
        "from_nodes": steps,
        "to_nodes": steps,
        "node_names": steps,
        "tags": {tag for node in whole.nodes for tag in node.tags},
        "namespaces": spaces,
        "from_inputs": whole.datasets() - whole.outputs(),
        "to_outputs": whole.all_outputs(),
        "load_versions": data,
    }.items():
        name = "nodes" if option == "node_names" else option.replace("_", "-")
        _refuse_unknown(f"--{name}", options[option], kinds)
    _check_that_something_is_left(whole, options)


def _check_that_something_is_left(whole: Pipeline, options: Mapping[str, Any]) -> None:
    filters = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")
    given = [name for name in (*filters, "namespaces") if options[name]]
    try:
        whole.filter(**{name: options[name] for name in filters}, node_namespaces=options["namespaces"])
    except ValueError as error:
        names = ", ".join("--nodes" if name == "node_names" else f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{names}: no step is left to run; expected options that have steps in common") from error


def _refuse_unknown(option: str, given: Iterable[str], names: Iterable[str]) -> None:
    there = sorted(names)
    for name in given:
        if name not in there:
            listed = known(one for one in there if one != DEFAULT) if there else "there are none"
            raise InputError(f"{option}: unknown {name!r}{suggestion(name, there)}; {listed}")


def _prefixes(namespace: str) -> Iterable[str]:
    parts = namespace.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _asynchronous(options: Mapping[str, Any]) -> dict[str, Any]:
    if not options["is_async"]:
        return {}
    if options["runner_params"].get("is_async", True) is not True:
        raise InputError("--async and --runner-params=is_async=False are given; expected one of the two")
    return {"is_async": True}


def _check_runner(name: str, arguments: Mapping[str, Any]) -> None:
    try:
        runner = load_obj(name, "kedro.runner")
    except (AttributeError, ImportError, ValueError):
        runner = None
    if not (isinstance(runner, type) and issubclass(runner, AbstractRunner)):
        raise InputError(f"--runner: unknown {name!r}{suggestion(name, list(RUNNERS))}; {known(RUNNERS)}")
    if issubclass(runner, ParallelRunner):
        raise InputError(
            f"--runner: {name} runs each step in a process of its own, but the photographs and the detector are handed "
            f"on in memory; expected {' or '.join(RUNNERS)}"
        )
    try:
        runner(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"--runner-params: {name} refuses {dict(arguments)}: {error}") from error
