"""Wiring of the training stage: one template for every method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, get_type_hints

from kedro.pipeline import Node, Pipeline

from discrepancy.methods.base import Method
from discrepancy.pipelines.training.nodes import (
    plan_features,
    prepare,
    score_held_out,
    score_held_out_uncached,
    train,
    train_uncached,
)


def create_pipeline(method: type[Method]) -> Pipeline:
    """Wire images -> features -> the method's preparations -> the trained detector, its history, held-out maps."""
    given = [f"params:{method.name}", "params:ingestion"]
    prepared = [preparation.name for preparation in method.preparations]
    if method.uses_cache:
        nodes = [
            Node(_bound(plan_features, method), ["images", "samples", *given], "features", name="extract_features"),
            *(
                Node(
                    _bound(prepare, method, preparation),
                    ["images", "samples", "features", *given],
                    preparation.name,
                    name=preparation.step,
                )
                for preparation in method.preparations
            ),
        ]
        learnt_from = ["images", "samples", "features", "checkpoint", *given, *prepared]
        nodes.append(Node(_bound(train, method), learnt_from, ["trained", "history"], name="train"))
        held_out = Node(
            _bound(score_held_out, method),
            ["trained", "images", "samples", "features", "checkpoint", *given],
            "validation_maps",
            name="score_held_out",
        )
    else:
        learnt_from = ["images", "samples", "checkpoint", *given]
        nodes = [Node(_bound(train_uncached, method), learnt_from, ["trained", "history"], name="train")]
        held_out = Node(
            _bound(score_held_out_uncached, method),
            ["trained", *learnt_from],
            "validation_maps",
            name="score_held_out",
        )
    nodes.append(held_out)
    nodes += [
        Node(extra.compute, list(extra.inputs), extra.output, name=extra.step)
        for extra in method.extra_steps()
        if extra.stage == "training"
    ]
    inputs = {name for node in nodes for name in node.inputs}
    return Pipeline(
        nodes,
        namespace=method.name,
        inputs=inputs & {"images", "samples", "masks"},
        parameters={name for name in inputs if name.startswith("params:")},
        tags=["training"],
    )


def _bound(function: Callable[..., Any], method: type[Method], *more: Any) -> Callable[..., Any]:
    """Fix the method of a step, and annotate its parameters with the method's own: Kedro validates by annotations."""
    bound = partial(function, method, *more)
    update_wrapper(bound, function)
    vars(bound).pop("__wrapped__")  # it has the arguments that are fixed here
    bound.__annotations__ = {**get_type_hints(function), "parameters": method.Parameters}
    return bound
