"""Steps whose parameters are a method's: Kedro validates them by the annotations of the step's arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, get_type_hints


def annotated(function: Callable[..., Any], *fixed: Any, **types: type) -> Callable[..., Any]:
    """Return a step with its first arguments fixed, and other types for some of its arguments.

    Args:
        function: the step.
        fixed: its first arguments.
        types: by name of the argument.
    """
    bound = partial(function, *fixed)
    update_wrapper(bound, function)
    vars(bound).pop("__wrapped__")  # it has the arguments that are fixed here
    bound.__annotations__ = {**get_type_hints(function), **types}
    return bound
