"""The project's commands: Kedro's `run`, with errors that a user can act on in place of a traceback."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.validation.exceptions import ParameterValidationError

from discrepancy.errors import InputError


@click.group(name="discrepancy")
def cli() -> None:
    """Find defects in photographs of industrial parts."""


def explained(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, its user's errors turned into one message and exit code 1; others keep their traceback."""

    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return callback(*args, **options)
        except Exception as error:
            message = explanation(error)
            if message is None:
                raise
            raise click.ClickException(message) from error

    return wrapped


def explanation(error: BaseException) -> str | None:
    """What the user can do about an error, found along its causes; None if it is the program's fault."""
    from discrepancy.methods.training import DivergedError

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, InputError | DivergedError):
            return str(current)
        if isinstance(current, ParameterValidationError):
            return _parameter_lines(str(current))
        current = current.__cause__ or current.__context__
    return None


def _parameter_lines(text: str) -> str:
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    shorter = [re.sub(r"Failed to instantiate \w+ for parameter '[^']*': ", "", line) for line in lines]
    return "\n".join(shorter) or text


run = copy.copy(kedro_run)
assert kedro_run.callback is not None
run.callback = explained(kedro_run.callback)
cli.add_command(run, "run")
